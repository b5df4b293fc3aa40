"""Adversarial training and adversarial querying: learners with adversarial queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from metalearn.attacks.ascent import Attack
from metalearn.estimators import Estimator
from metalearn.inner_loop import outer_loss
from metalearn.problems import BilevelProblem, Learner
from metalearn.problems.learner import Posed
from metalearn.random import fold_in
from metalearn.types import Batch, Inner, Meta, Problem, Rule, Seed, Structure, Task, TaskMapping


def on_queries(problem: Problem, attack: Attack) -> BilevelProblem:
    """Return a bilevel problem whose outer loss is at the adversarial query inputs of ``attack``.

    ::

        L(theta_K, phi) = outer_loss(theta_K, phi, x + delta),    delta = attack at theta_K, a constant

    Without inner steps this is adversarial training, with inner steps it is adversarial querying: the support
    is not attacked. Metrics of the outer loss, such as accuracy, are those of attacked queries. The gradient
    treats delta as a constant, following Danskin's theorem (Madry et al. 2018, section 2.1).

    Args:
        problem: a problem whose queries are pairs ``(inputs, targets)``.
        attack: the attack; a random start is the same in every task.

    Reference: Goldblum, Fowl and Goldstein (2020), "Adversarially Robust Few-Shot Learning: A Meta-Learning
    Approach", algorithm 2.
    """

    def attacked(theta: Structure, phi: Meta, task: Task, model: Structure) -> Any:
        inputs, targets = task.query

        def at(x: tf.Tensor) -> Any:
            return theta, phi, task._replace(query=Batch(x, targets)), model

        worst = attack.maximize(lambda x: outer_loss(problem, *at(x))[0], inputs)
        return problem.outer_loss(*at(worst))

    return _with_outer_loss(problem, attacked)


def judged(problem: Problem, clean: Problem, judges: Sequence[Attack]) -> BilevelProblem:
    """Return a problem that also reports the metrics under each of several attacks.

    Args:
        problem: the problem, whose loss and metrics are unchanged.
        clean: the same problem without attacks; its metrics on queries attacked with radius r are reported as
            ``name@r``.
        judges: attacks with different radii.
    """

    def reported(theta: Structure, phi: Meta, task: Task, model: Structure) -> Any:
        loss, found = outer_loss(problem, theta, phi, task, model)
        for judge in judges:
            _, metrics = outer_loss(on_queries(clean, judge), theta, phi, task, model)
            found = found | {f"{name}@{judge.radius:g}": value for name, value in metrics.items()}
        return loss, found

    return _with_outer_loss(problem, reported)


def _with_outer_loss(problem: Problem, outer_loss: Callable[..., Any]) -> BilevelProblem:
    fields = {field.name: getattr(problem, field.name) for field in dataclasses.fields(BilevelProblem)}
    return BilevelProblem(**{**fields, "outer_loss": outer_loss})


@dataclasses.dataclass(frozen=True)
class Robust:
    """A learner with adversarial queries, for ``MetaTrainer``, ``evaluate`` and ``diagnose``.

    With a learner without inner steps this is adversarial training, with any other it is adversarial querying
    (:func:`on_queries`). Evaluations report robust losses and metrics. The random start of the attack differs
    from iteration to iteration.

    Attributes:
        learner: a learner whose queries are pairs ``(inputs, targets)``.
        attack: the attack, for example from :func:`pgd`; None to train on clean queries.
        judges: attacks with different radii. The outer loss reports the learner's metrics under each of them,
            for example ``accuracy@0.1``. They are computed in training, too, and are meant for evaluations.

    Raises:
        ValueError: if two judges have the same radius.

    Example:
        ::

            learner = ml.MetaLearner(model, "cross_entropy", "sgd", steps=0, metrics=["accuracy"])
            robust = ml.attacks.Robust(learner, ml.attacks.pgd(0.15, steps=7, bounds=(0, 1)))
            trainer = ml.MetaTrainer(robust, data, keras.optimizers.Adam(1e-3), meta_batch_size=1)
    """

    learner: Learner
    attack: Attack | None = None
    judges: Sequence[Attack] = ()

    def __post_init__(self) -> None:
        radii = [judge.radius for judge in self.judges]
        if len(set(radii)) < len(radii):
            raise ValueError(f"judges are reported by their radii, but two of {radii} are equal")

    @property
    def estimator(self) -> Estimator:
        """The same as the learner's."""
        return self.learner.estimator

    @property
    def rule(self) -> Rule:
        """The same as the learner's."""
        return self.learner.rule

    @property
    def mapping(self) -> TaskMapping:
        """The same as the learner's."""
        return self.learner.mapping

    def initialize(self, seed: int) -> Meta:
        """Return the learner's initial meta-parameters."""
        return self.learner.initialize(seed)

    def posed(self, meta: Meta, tasks: Task, seed: Seed) -> Posed:
        """Return the learner's problem with attacked queries."""
        clean, phi, tasks = self.learner.posed(meta, tasks, seed)
        problem = clean
        if self.attack is not None:
            problem = on_queries(clean, _seeded(self.attack, seed))
        if self.judges:
            problem = judged(problem, clean, [_seeded(judge, seed) for judge in self.judges])
        return Posed(problem, phi, tasks)

    def parts(self, meta: Meta) -> tuple[Meta, Structure]:
        """Return phi and the state that is updated without a gradient."""
        return self.learner.parts(meta)

    def whole(self, phi: Meta, state: Structure) -> Meta:
        """Return the meta-parameters that consist of the two parts."""
        return self.learner.whole(phi, state)

    def next_state(self, meta: Meta, tasks: Task, inner: Inner) -> Structure:
        """Return the learner's next state, which depends on clean examples only."""
        return self.learner.next_state(meta, tasks, inner)

    def require_fit(self, tasks: Task) -> list[str]:
        """Raise ValueError if the learner cannot take the tasks, or their queries cannot be attacked."""
        if not (isinstance(tasks.query, tuple) and len(tasks.query) == 2 and tf.is_tensor(tasks.query[0])):
            raise ValueError(
                "attacked queries have to be pairs (inputs, targets) with a single tensor of inputs"
            )
        attacks = self.judges if self.attack is None else (self.attack, *self.judges)
        for attack in attacks:
            attack.maximize(lambda x: tf.reduce_sum(x), tasks.query[0])
        names = self.learner.require_fit(tasks)
        return names + [f"{name}@{judge.radius:g}" for judge in self.judges for name in names]


def _seeded(attack: Attack, seed: Seed) -> Attack:
    """Return the attack with a random start that depends on the seed of a call, if its start is random."""
    if attack.seed is None:
        return attack
    return dataclasses.replace(attack, seed=fold_in(attack.seed, *tf.unstack(tf.cast(seed, tf.int32))))

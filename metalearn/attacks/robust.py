"""Adversarial training and adversarial querying: learners whose queries are attacked."""

from __future__ import annotations

import dataclasses
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
    """Return a bilevel problem whose outer loss is at the worst query inputs that ``attack`` finds.

    ::

        L(theta_K, phi) = outer_loss(theta_K, phi, x + delta),    delta = attack at theta_K, held constant

    With no inner steps this is adversarial training, with some it is adversarial querying: the support stays
    clean. What the outer loss reports, accuracy for one, is that of attacked queries. The gradient treats
    delta as a constant, by Danskin's theorem (Madry et al. 2018, section 2.1).

    Args:
        problem: whose queries are pairs ``(inputs, targets)``.
        attack: with its own random start, the same in every task.

    Reference: Goldblum, Fowl and Goldstein (2020), "Adversarially Robust Few-Shot Learning: A Meta-Learning
    Approach", algorithm 2.
    """

    def attacked(theta: Structure, phi: Meta, task: Task, model: Structure) -> Any:
        inputs, targets = task.query

        def at(x: tf.Tensor) -> Any:
            return theta, phi, task._replace(query=Batch(x, targets)), model

        worst = attack.maximize(lambda x: outer_loss(problem, *at(x))[0], inputs)
        return problem.outer_loss(*at(worst))

    fields = {field.name: getattr(problem, field.name) for field in dataclasses.fields(BilevelProblem)}
    return BilevelProblem(**{**fields, "outer_loss": attacked})


@dataclasses.dataclass(frozen=True)
class Robust:
    """A learner whose queries are attacked, for ``MetaTrainer``, ``evaluate`` and ``diagnose``.

    Adversarial training is that of a learner of no inner steps, adversarial querying (:func:`on_queries`)
    that of any other. Its evaluation reports robust losses and metrics. The random start of the attack
    differs from iteration to iteration.

    Attributes:
        learner: of queries that are pairs ``(inputs, targets)``.
        attack: as :func:`pgd` returns it.

    Example:
        ::

            learner = ml.MetaLearner(model, "cross_entropy", "sgd", steps=0, metrics=["accuracy"])
            robust = ml.attacks.Robust(learner, ml.attacks.pgd(0.15, steps=7, bounds=(0, 1)))
            trainer = ml.MetaTrainer(robust, data, keras.optimizers.Adam(1e-3), meta_batch_size=1)
    """

    learner: Learner
    attack: Attack

    @property
    def estimator(self) -> Estimator:
        """That of the learner."""
        return self.learner.estimator

    @property
    def rule(self) -> Rule:
        """That of the learner."""
        return self.learner.rule

    @property
    def mapping(self) -> TaskMapping:
        """That of the learner."""
        return self.learner.mapping

    def initialize(self, seed: int) -> Meta:
        """Return the learner's initial meta-parameters."""
        return self.learner.initialize(seed)

    def posed(self, meta: Meta, tasks: Task, seed: Seed) -> Posed:
        """Return the learner's problem with attacked queries."""
        problem, phi, tasks = self.learner.posed(meta, tasks, seed)
        attack = self.attack
        if attack.seed is not None:
            attack = dataclasses.replace(
                attack, seed=fold_in(attack.seed, *tf.unstack(tf.cast(seed, tf.int32)))
            )
        return Posed(on_queries(problem, attack), phi, tasks)

    def parts(self, meta: Meta) -> tuple[Meta, Structure]:
        """Return phi and the state that moves without a gradient."""
        return self.learner.parts(meta)

    def whole(self, phi: Meta, state: Structure) -> Meta:
        """Return the meta-parameters of the two parts."""
        return self.learner.whole(phi, state)

    def next_state(self, meta: Meta, tasks: Task, inner: Inner) -> Structure:
        """Return the learner's next state: that of clean examples."""
        return self.learner.next_state(meta, tasks, inner)

    def require_fit(self, tasks: Task) -> list[str]:
        """Raise ValueError if the learner cannot take the tasks, or their queries cannot be attacked."""
        if not (isinstance(tasks.query, tuple) and len(tasks.query) == 2 and tf.is_tensor(tasks.query[0])):
            raise ValueError("attacked queries have to be pairs (inputs, targets), inputs a single tensor")
        self.attack.maximize(lambda x: tf.reduce_sum(x), tasks.query[0])
        return self.learner.require_fit(tasks)

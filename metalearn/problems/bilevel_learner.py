"""The learner of any bilevel problem."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metalearn import estimators
from metalearn.estimators import Estimator, checkpointed
from metalearn.inner_loop import counted, number_of_tasks
from metalearn.problems import learner
from metalearn.problems.bilevel import Noisy
from metalearn.problems.learner import Losses, Posed
from metalearn.random import by_task, fold_in
from metalearn.types import Inner, Meta, MetaGradient, Problem, Rule, Seed, Structure, Task, TaskMapping

NOISE_STREAM = 0x62696C65
"""Folded into the seed of a call, so that noise is independent of tasks drawn with the same seed."""


@dataclasses.dataclass(frozen=True)
class BilevelLearner:
    """A learner of the meta-parameters phi, any nest of tensors, of a bilevel problem.

    It is used with ``MetaTrainer``, ``evaluate`` and ``diagnose``.

    Attributes:
        problem: a :class:`metalearn.BilevelProblem`, or any object with the methods of
            :class:`metalearn.types.Problem`.
        estimator: the estimator of the meta-gradient.
        start: the initial phi, or a function of a seed that returns it.
        noise: ``(seed, T) -> nest [T, ...]``, a pure function of the seed that draws the random numbers of
            inner loops other than their data, such as initial parameters. It is called for each iteration
            and each list of tasks. The problem's functions receive the noise with the support,
            ``task.support = Noisy(examples, noise)``. None for no noise.
        finish: ``phi -> phi``, applied before evaluations, for instance to turn scores into masks of zeros
            and ones; None for the identity.

    Raises:
        ValueError: if a part has the wrong type, or phi has leaves that are not floating-point tensors.

    Example:
        ::

            learner = ml.BilevelLearner(problem, ml.estimators.implicit(), start={"log_l2": tf.zeros([20])})
            trainer = ml.MetaTrainer(learner, data, keras.optimizers.Adam(0.1), meta_batch_size=1)
            trainer.run(100)
    """

    problem: Problem
    estimator: Estimator = dataclasses.field(default_factory=checkpointed)
    start: Meta | Callable[[int], Meta] = dataclasses.field(default_factory=dict)
    noise: Callable[[Seed, int], Structure] | None = None
    finish: Callable[[Meta], Meta] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "estimator", estimators.get(self.estimator))
        for name in ("start", "batch", "inner_loss", "outer_loss", "hyperparameters"):
            if not callable(getattr(self.problem, name, None)):
                raise ValueError(
                    f"problem must be a metalearn.BilevelProblem or have its methods, but {self.problem!r} "
                    f"has no method {name}"
                )
        self.initialize(0)

    @property
    def rule(self) -> Rule:
        """The inner rule of the problem."""
        return self.problem.rule

    @property
    def mapping(self) -> TaskMapping:
        """How functions of one task are mapped over tasks, as set by the problem."""
        return self.problem.mapping

    def initialize(self, seed: int) -> Meta:
        """Return the initial phi, a pure function of the seed.

        Raises:
            ValueError: if it has no leaves, or leaves that are not floating-point tensors.
        """
        phi = self.start(seed) if callable(self.start) else self.start
        phi = tf.nest.map_structure(tf.convert_to_tensor, phi)
        if not tf.nest.flatten(phi):
            raise ValueError("start has no tensors, so there is nothing to learn: give the initial phi")
        for leaf in tf.nest.flatten(phi):
            if not leaf.dtype.is_floating:
                raise ValueError(
                    f"start has a leaf of type {leaf.dtype.name}: only floating-point numbers can be "
                    "learned; let the problem's functions capture the others"
                )
        return phi

    def posed(self, meta: Meta, tasks: Task, seed: Seed) -> Posed:
        """Return the problem, phi, and the tasks with their noise."""
        tasks = counted(tasks)
        if self.noise is not None:
            draw = functools.partial(self.noise, fold_in(seed, NOISE_STREAM))
            drawn = by_task(draw, number_of_tasks(tasks))
            tasks = tasks._replace(support=Noisy(tasks.support, drawn))
        return Posed(self.problem, meta, tasks)

    def parts(self, meta: Meta) -> tuple[Meta, Structure]:
        """Return phi and an empty state."""
        return meta, ()

    def whole(self, phi: Meta, state: Structure) -> Meta:
        """Return phi."""
        return phi

    def next_state(self, meta: Meta, tasks: Task, inner: Inner) -> Structure:
        """Return an empty state."""
        return ()

    def require_fit(self, tasks: Task) -> list[str]:
        """Raise ValueError if a loss or a metric is not a scalar, or the estimator rejects the problem.

        The problem's functions are traced with the integer vectors and matrices of the first task as
        constants, so that they can check its classes.
        """
        number_of_tasks(counted(tasks))
        posed = self.posed(self.initialize(0), tasks, (0, 0))
        return learner.require_traceable(posed, self.estimator)

    def meta_gradient(self, meta: Meta, tasks: Task, seed: Seed = (0, 0)) -> MetaGradient:
        """Return the meta-loss of each task and the gradient of its mean with respect to ``meta``.

        Args:
            meta: meta-parameters, as returned by :meth:`initialize`.
            tasks: leaves ``[T, ...]``.
            seed: ``(seed of the run, iteration)``, used by noise and by random or annealed estimators.
        """
        return learner.meta_gradient(self, meta, tasks, seed)

    def losses(self, meta: Meta, tasks: Task, inner: Inner, seed: Seed = (0, 0)) -> Losses:
        """Return losses before and after adaptation, see :func:`metalearn.problems.learner.losses`."""
        return learner.losses(self, meta, tasks, inner, seed)

    def adapt(self, meta: Meta, tasks: Task, steps: int | None = None, seed: Seed = (0, 0)) -> Any:
        """Return the inner loops after ``steps`` steps (the problem's by default), and their losses.

        Returns:
            ``(Inner [T, ...], inner loss [T, K+1])``.
        """
        count = self.problem.steps if steps is None else steps
        return learner.adaptation(self, meta, tasks, count, seed)

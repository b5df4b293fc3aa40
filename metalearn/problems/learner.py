"""The protocol of learners, and what training, evaluation and diagnosis compute with any learner."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.estimators import Estimator
from metalearn.estimators.protocol import Carry
from metalearn.execution.choice import differentiable_maps, resolved
from metalearn.execution.layout import FUSED_STEPS
from metalearn.execution.low_rank import avoids_matrices, represented
from metalearn.execution.programs import traced_once
from metalearn.execution.task_map import map_tasks
from metalearn.execution.traced import without_counters
from metalearn.inner_loop import (
    counted,
    inner_end,
    inner_objective,
    inner_start,
    inner_step,
    outer_loss,
    solve,
)
from metalearn.types import Inner, Meta, MetaGradient, Problem, Rule, Seed, Structure, Task, TaskMapping

Losses = dict[str, tf.Tensor]

RESERVED = ("loss", "loss_before")
"""The names of the outer loss in a history, which no metric may have."""


class Posed(NamedTuple):
    """A learner's bilevel problem at given meta-parameters, for given tasks.

    Attributes:
        problem: the functions of one task.
        phi: the learned parameters.
        tasks: leaves ``[T, ...]``, with seeds of noise if the problem needs them.
    """

    problem: Problem
    phi: Meta
    tasks: Task


class Learner(Protocol):
    """The protocol that :class:`metalearn.MetaTrainer`, ``evaluate`` and ``diagnose`` require.

    The implementations are :class:`metalearn.MetaLearner` for Keras models and
    :class:`metalearn.BilevelLearner` for any bilevel problem.

    Attributes:
        estimator: the estimator of the meta-gradient.
        rule: the inner update rule.
        mapping: how functions of one task are mapped over tasks.
    """

    @property
    def estimator(self) -> Estimator: ...

    @property
    def rule(self) -> Rule: ...

    @property
    def mapping(self) -> TaskMapping: ...

    def initialize(self, seed: int) -> Meta:
        """Return initial meta-parameters, a pure function of the seed."""
        ...

    def posed(self, meta: Meta, tasks: Task, seed: Seed) -> Posed:
        """Return the bilevel problem for these tasks; ``seed`` is ``(seed of the run, iteration)``."""
        ...

    def parts(self, meta: Meta) -> tuple[Meta, Structure]:
        """Return phi, which the optimizer updates, and the state, which is updated without a gradient."""
        ...

    def whole(self, phi: Meta, state: Structure) -> Meta:
        """Return the meta-parameters that consist of the two parts."""
        ...

    def next_state(self, meta: Meta, tasks: Task, inner: Inner) -> Structure:
        """Return the state after an iteration, given its tasks and final inner loops ``[T, ...]``."""
        ...

    def require_fit(self, tasks: Task) -> list[str]:
        """Return the names of the metrics that the outer loss reports for these tasks.

        Raises:
            ValueError: naming what does not fit, if the learner cannot be used with these tasks.
        """
        ...


def estimate(
    learner: Learner, meta: Meta, tasks: Task, carry: Carry, seed: Seed
) -> tuple[MetaGradient, Carry]:
    """Return the meta-gradient of a meta-batch with respect to phi, and the estimator's next carry."""
    problem, phi, tasks = learner.posed(meta, tasks, seed)
    return learner.estimator(problem, phi, tasks, carry, seed)


def meta_gradient(learner: Learner, meta: Meta, tasks: Task, seed: Seed) -> MetaGradient:
    """Return the meta-gradient of a single meta-batch, with the estimator's initial carry."""
    return traced_once(learner, _meta_gradient)(meta, tasks, seed)


def _meta_gradient(learner: Learner, meta: Meta, tasks: Task, seed: Seed) -> MetaGradient:
    problem, phi, tasks = learner.posed(meta, tasks, seed)
    return learner.estimator(problem, phi, tasks, learner.estimator.init(problem, phi, tasks), seed)[0]


def losses(
    learner: Learner, meta: Meta, tasks: Task, inner: Inner, seed: Seed, judged: tf.Tensor | None = None
) -> Losses:
    """Return losses ``[T]`` before and after adaptation: ``inner/…`` on support, ``outer/…`` on query.

    ``…/loss_before`` is at theta_0, ``…/loss`` at the end of the inner loops ``[T, ...]``. The inner loss is
    complete: it includes the proximal term and is the mean over mini-batches. ``judged`` is the outer loss at
    the end, if both it and ``inner`` are results of a meta-gradient.
    """
    known = () if judged is None else (judged,)
    return traced_once(learner, _losses)(meta, tasks, inner, seed, *known)


def _losses(
    learner: Learner, meta: Meta, tasks: Task, inner: Inner, seed: Seed, judged: tf.Tensor | None = None
) -> Losses:
    problem, phi, tasks = learner.posed(meta, counted(tasks), seed)
    known = {} if judged is None else {"outer/loss": judged}

    # Each task has its own copy of theta_0, as in the first inner step, so that XLA computes this loss once.
    starts = map_tasks(lambda task: inner_start(problem, phi, task), tasks, mapping=problem.mapping)

    # Losses of some iterations only would need the adapted matrices of each task in all iterations.
    fused = problem.steps <= FUSED_STEPS and resolved(problem.mapping) == "vectorized"
    repeats = fused and bool(known)

    def of_one_task(task: Task, copied: Inner, inner: Inner) -> Losses:
        is_shared = not problem.solved and not isinstance(task.start, Inner)
        begun = problem.start(phi, task) if is_shared else copied
        start = begun.parameters if isinstance(begun, Inner) else begun

        def objective(at: Inner) -> tf.Tensor:
            return inner_objective(problem, at.parameters, phi, task, at.model)

        def around(inner: Inner) -> Losses:
            found = {
                "inner/loss_before": objective(copied),
                "inner/loss": objective(inner),
                "outer/loss_before": outer_loss(problem, start, phi, task, copied.model)[0],
            }
            if not known:
                found["outer/loss"] = outer_loss(problem, inner.parameters, phi, task, inner.model)[0]
            return found

        found = None
        # One step shows whether this avoids matrices.
        for steps in sorted({min(problem.steps, 1), problem.steps}) if repeats else ():
            again = inner_end(problem, phi, task, steps)
            found = around(again)
            if not avoids_matrices(again.parameters, found):
                return around(inner)
        return found or around(inner)

    with represented(problem.steps if repeats else None):
        around: Losses = map_tasks(
            of_one_task, tasks, starts, inner._replace(step=()), mapping=problem.mapping
        )
    return {**around, **known}


def adaptation(learner: Learner, meta: Meta, tasks: Task, steps: int, seed: Seed) -> tuple[Inner, tf.Tensor]:
    """Return the inner loops after ``steps`` steps, and the inner losses ``[T, K+1]``."""
    require_count("steps", steps, minimum=0)
    return traced_once(learner, _adaptation, steps)(meta, tasks, seed)


def _adaptation(learner: Learner, steps: int, meta: Meta, tasks: Task, seed: Seed) -> tuple[Inner, tf.Tensor]:
    problem, phi, tasks = learner.posed(meta, tasks, seed)

    def measure(inner: Inner, task: Task) -> tf.Tensor:
        return inner_objective(problem, inner.parameters, phi, task, inner.model)

    with differentiable_maps():
        return solve(problem, phi, tasks, steps, measure)


def require_traceable(posed: Posed, estimator: Estimator) -> list[str]:
    """Trace the start, one inner step and the outer loss of one task, without executing them.

    Args:
        posed: the problem with its tasks.
        estimator: the estimator of the learner.

    Returns:
        The names of the metrics that the outer loss reports.

    Raises:
        ValueError: if a loss or a metric is not a scalar, a metric has the name of a loss, ``Task.start``
            does not fit, or the estimator rejects the problem. Errors of the problem's own functions are
            raised unchanged.
    """
    problem, phi, tasks = posed
    one = tf.nest.map_structure(lambda leaf: leaf[0], counted(tasks))
    estimator.require(problem, phi, one)
    with tf.__internal__.FuncGraph("fit").as_default():
        phi, task = tf.nest.map_structure(_given, (phi, one))
        _, metrics = _of_one_task(problem, phi, task, range(min(problem.steps, 1)))
    for name in RESERVED:
        if name in metrics:
            raise ValueError(
                f"a metric is called {name!r}, but outer/{name} is the outer loss in the history of a "
                "training: give the metric another name"
            )
    return list(metrics)


def operations(learner: Learner, meta: Meta, tasks: Task, steps: int | None = None) -> bytes:
    """Return all operations of a learner for one task, with their constants.

    They are those of its problem (noise, step weights), of the start, the inner steps, both losses and the
    next state. The steps are all that programs compute one by one, or one with any number, as in their loops.

    Args:
        learner: the learner.
        meta: meta-parameters, of which only structure, shapes and types are used.
        tasks: likewise, leaves ``[T, ...]``.
        steps: the largest number of inner steps; that of training by default.
    """
    one = tf.nest.map_structure(lambda leaf: leaf[:1], counted(tasks))
    # A FuncGraph, not a concrete function, which TensorFlow would optimise and keep for later calls.
    graph = tf.__internal__.FuncGraph("operations")
    with graph.as_default():
        given = tf.nest.map_structure(_placeholder, (meta, one, tf.zeros([2], tf.int32)))
        problem, phi, tasks = learner.posed(*given)
        task = tf.nest.map_structure(lambda leaf: leaf[0], counted(tasks))
        steps = problem.steps if steps is None else steps
        fused = steps <= FUSED_STEPS
        numbers = range(steps) if fused else [tf.compat.v1.placeholder(tf.int32, [])]
        inner, _ = _of_one_task(problem, phi, task, numbers)
        inner_objective(problem, inner.parameters, phi, task, inner.model)
        if problem.step_weights is not None:
            tf.identity(problem.step_weights)
        ended = tf.nest.map_structure(lambda leaf: tf.convert_to_tensor(leaf)[None], inner)
        learner.next_state(given[0], given[1], ended)
    settings = repr((steps, problem.steps, problem.mapping, problem.solved))
    return settings.encode() + without_counters(graph.as_graph_def()).SerializeToString(deterministic=True)


def _of_one_task(
    problem: Problem, phi: Meta, task: Task, numbers: Iterable[int | tf.Tensor]
) -> tuple[Inner, Losses]:
    """Return the inner loop of a task after the steps with these numbers, and the metrics."""
    inner = inner_start(problem, phi, task)
    for step in numbers:
        inner = inner_step(problem, inner, phi, task, step)
    return inner, outer_loss(problem, inner.parameters, phi, task, inner.model)[1]


def _placeholder(leaf: tf.Tensor) -> tf.Tensor:
    return tf.compat.v1.placeholder(leaf.dtype, leaf.shape)


def _given(leaf: tf.Tensor) -> tf.Tensor:
    """Return a placeholder for a leaf, or its value if it may contain classes, whose range losses check."""
    value = tf.get_static_value(leaf) if leaf.dtype.is_integer and leaf.shape.rank in (1, 2) else None
    return _placeholder(leaf) if value is None else tf.constant(value)

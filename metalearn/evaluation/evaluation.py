"""Evaluation: the loss and metrics after each number of inner steps on a fixed list of new tasks."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.evaluation.query_batches import batched
from metalearn.evaluation.task_list import TaskList
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import outer_loss, solve
from metalearn.nest import matched
from metalearn.problems.learner import Learner
from metalearn.problems.stored import Cache, Stored, program
from metalearn.sources import Source, as_source, check_sampler, spec
from metalearn.sources.leaves import with_extremes
from metalearn.types import Inner, Meta, Structure, Task

DIVERGED = 10
"""A task has diverged if its loss exceeds the largest loss before adaptation by this factor."""

LOSS = "loss"
"""The name of the outer loss among its metrics, which no metric may have."""


class Curve(NamedTuple):
    """A query metric as a function of the number of inner steps.

    Attributes:
        mean: the mean over the tasks, ``[S+1]``.
        ci95: the half-width of the normal 95 % interval of the mean, ``1.96 std / sqrt(num_tasks)``,
            ``[S+1]``; NaN for a single task.
        per_task: the metric of each task, ``[num_tasks, S+1]``.
        median: the median over the tasks, ``[S+1]``.
    """

    mean: np.ndarray
    ci95: np.ndarray
    per_task: np.ndarray
    median: np.ndarray


class Evaluation(NamedTuple):
    """The query loss as a function of the number of inner steps.

    Attributes:
        steps: 0 to S.
        mean: the mean over the tasks, ``[S+1]``.
        ci95: the half-width of the normal 95 % interval of the mean, ``1.96 std / sqrt(num_tasks)``,
            ``[S+1]``; NaN for a single task.
        num_tasks: the number of tasks.
        tasks_hash: a digest of the tasks; equal for evaluations that can be compared task by task.
        per_task: the loss of each task, ``[num_tasks, S+1]``.
        median: the median over the tasks, ``[S+1]``, which is robust to a few tasks with very large losses.
        diverged: the fraction of the tasks whose loss is not finite, or more than ``DIVERGED`` times the
            largest finite one before the first step, ``[S+1]``.
        metrics: the metrics that the outer loss reports, by name.
        queries_at_once: the argument of :func:`evaluate`.
    """

    steps: np.ndarray
    mean: np.ndarray
    ci95: np.ndarray
    num_tasks: int
    tasks_hash: str
    per_task: np.ndarray
    median: np.ndarray
    diverged: np.ndarray
    metrics: Mapping[str, Curve] = types.MappingProxyType({})
    queries_at_once: int | str = "all"


def evaluate(
    learner: Learner,
    meta: Meta,
    tasks: Source,
    num_tasks: int = 1000,
    steps: int = 10,
    seed: int = 1,
    queries_at_once: int | str = "all",
    *,
    cache: Cache | None = None,
) -> Evaluation:
    """Adapt to new tasks and return the query loss after 0, 1, ..., ``steps`` inner steps.

    Args:
        learner: the learner, whose outer loss is the metric. If it has a function ``finish``, this is applied
            to the meta-parameters first.
        meta: the trained meta-parameters.
        tasks: the source of the tasks.
        num_tasks: the number of tasks, at least 1.
        steps: S, at least 0; may exceed the steps of training.
        seed: the seed of the list of tasks, of the noise of models that have any, and of batches of queries.
        queries_at_once: the queries that are one batch: ``"all"`` queries of a task, as in training;
            ``"class"``, those of one class; or the number of random queries in a batch. Losses and metrics
            are means over batches. If the model normalises with statistics of the queries
            (``statistics="batch"``), its predictions are transductive and depend on this choice (Bronskill et
            al. 2020, "TaskNorm", section 3).
        cache: traced programs that evaluations share, see :class:`metalearn.MetaTrainer`; None for no cache.

    Raises:
        ValueError: if a count is too small, the tasks do not fit the learner, the meta-parameters are those
            of another learner, or the queries of a task cannot be divided into batches of equal size.
    """
    return evaluator(learner, tasks, num_tasks, steps, seed, queries_at_once, cache=cache)(meta)


def evaluator(
    learner: Learner,
    tasks: Source,
    num_tasks: int = 1000,
    steps: int = 10,
    seed: int = 1,
    queries_at_once: int | str = "all",
    *,
    cache: Cache | None = None,
) -> Callable[[Meta], Evaluation]:
    """Return :func:`evaluate` as a function of the meta-parameters.

    The learner keeps the program, which is compiled once for tasks of one size, for all seeds and sources.

    Raises:
        ValueError: as :func:`evaluate` does, before anything is evaluated.
    """
    require_count("num_tasks", num_tasks)
    require_count("steps", steps, minimum=0)
    require_count("seed", seed, minimum=0)
    source = as_source(tasks)
    check_sampler(source)
    shapes = spec(source, 1)
    drawn = TaskList(source, num_tasks, seed, shapes)
    learner.require_fit(with_extremes(source, drawn.first))
    batched(drawn.first, queries_at_once, (seed, 0))  # raises ValueError before anything is evaluated
    in_batches = queries_at_once != "all"

    finish = getattr(learner, "finish", None)
    like = learner.initialize(0)  # for its structure; the seed does not matter
    stored = None
    if cache is not None:
        stored = Stored(cache, learner, like if finish is None else finish(like), drawn.first, steps)
    measured = program(learner, _measured, steps, in_batches, stored=stored)

    def evaluate_meta(meta: Meta) -> Evaluation:
        meta = matched("meta", meta, like)
        meta = meta if finish is None else finish(meta)
        parts = [
            measured(meta, batched(chunk, queries_at_once, (seed, first)), tf.constant((seed, first)))
            for first, chunk in drawn.chunks()
        ]
        metrics = tf.nest.map_structure(
            lambda *leaves: np.concatenate([leaf.numpy() for leaf in leaves]), *parts
        )
        losses = metrics.pop(LOSS)
        return Evaluation(
            steps=np.arange(steps + 1),
            **_curve(losses)._asdict(),
            num_tasks=num_tasks,
            tasks_hash=drawn.digest,
            diverged=_diverged(losses),
            metrics={name: _curve(values) for name, values in metrics.items()},
            queries_at_once=queries_at_once,
        )

    return evaluate_meta


def _measured(
    learner: Learner,
    steps: int,
    in_batches: bool,
    meta: Meta,
    tasks: Task,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Return the outer loss and the metrics of each task after each step, ``[T, S+1]``."""
    problem, phi, tasks = learner.posed(meta, tasks, seed)

    def of_batch(inner: Inner, task: Task) -> Structure:
        return outer_loss(problem, inner.parameters, phi, task, inner.model)

    def in_turn(inner: Inner, task: Task) -> Structure:
        of_batches = map_tasks(
            lambda batch: of_batch(inner, task._replace(query=batch)), task.query, mapping=problem.mapping
        )
        return tf.nest.map_structure(tf.reduce_mean, of_batches)

    query = in_turn if in_batches else of_batch
    losses, metrics = solve(problem, phi, tasks, steps, query)[1]
    return {LOSS: losses, **metrics}


def _curve(per_task: np.ndarray) -> Curve:
    count = len(per_task)
    deviation = np.full(per_task.shape[1], np.nan)
    with np.errstate(invalid="ignore", over="ignore"):  # an infinite mean has no deviation
        mean = per_task.mean(0, dtype=np.float64)
        if count > 1:
            deviation = per_task.std(0, ddof=1, dtype=np.float64)
    ci95 = 1.96 * deviation / np.sqrt(count)
    return Curve(mean, ci95, per_task, np.median(per_task, 0))


def _diverged(losses: np.ndarray) -> np.ndarray:
    before = losses[:, 0]
    largest = np.max(before, initial=0.0, where=np.isfinite(before))
    return np.mean(~(losses <= DIVERGED * largest), axis=0)  # a comparison with NaN is false

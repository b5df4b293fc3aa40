"""Evaluation: how well, after how many steps, on a fixed list of fresh tasks."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.evaluation.query_batches import batched
from metalearn.evaluation.task_list import TaskList
from metalearn.execution.compiled import Compiled
from metalearn.execution.programs import kept
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import outer_loss, solve
from metalearn.problems.learner import Learner
from metalearn.sources import Source, as_source, check_sampler, spec
from metalearn.types import Inner, Meta, Structure, Task

DIVERGED = 10
"""How many times the largest loss before adaptation a loss has to be for its task to have diverged."""


class Curve(NamedTuple):
    """A metric of the query against inner steps.

    Attributes:
        mean: mean over the tasks, ``[S+1]``.
        ci95: half width of the normal 95 % interval of the mean, ``1.96 std / sqrt(num_tasks)``, ``[S+1]``;
            NaN for a single task.
        per_task: of each task, ``[num_tasks, S+1]``.
        median: over the tasks, ``[S+1]``.
    """

    mean: np.ndarray
    ci95: np.ndarray
    per_task: np.ndarray
    median: np.ndarray


class Evaluation(NamedTuple):
    """Query loss against inner steps.

    Attributes:
        steps: 0 to S.
        mean: mean over the tasks, ``[S+1]``.
        ci95: half width of the normal 95 % interval of the mean, ``1.96 std / sqrt(num_tasks)``, ``[S+1]``;
            NaN for a single task.
        num_tasks: number of tasks.
        tasks_hash: digest of the tasks; equal for evaluations that can be compared task by task.
        per_task: loss of each task, ``[num_tasks, S+1]``.
        median: over the tasks, ``[S+1]``, which the few tasks with very large losses do not move as they move
            the mean.
        diverged: fraction of the tasks whose loss is not finite, or more than ``DIVERGED`` times the largest
            finite one before the first step, ``[S+1]``.
        metrics: what the outer loss reports beside its value, by name.
        queries_at_once: of a task, as :func:`evaluate` has it.
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
) -> Evaluation:
    """Adapt to fresh tasks and return the query loss after 0, 1, ..., ``steps`` inner steps.

    Args:
        learner: its outer loss is the metric, its rule the inner update; what it says of ``finish`` is done
            to the meta-parameters first.
        meta: trained meta-parameters.
        tasks: source to draw from.
        num_tasks: at least 1.
        steps: S, at least 0; may exceed the steps of training.
        seed: of the list of tasks, of the noise of models that have any, and of batches of queries.
        queries_at_once: ``"all"``: the queries of a task are one batch, as in training; ``"class"``: those of
            one class at a time; a number: so many at a time, chosen by chance. Losses and metrics are means
            over batches. Where the model normalises queries with each other (``statistics="batch"``), a batch
            of all classes tells it of the others: what that is worth is the difference. Bronskill et al.
            (2020), "TaskNorm", section 3, on transductive batch normalisation.

    Raises:
        ValueError: if a count is too small, the tasks do not fit the learner, or the queries of a task
            make no batches of equal size.
    """
    return evaluator(learner, tasks, num_tasks, steps, seed, queries_at_once)(meta)


def evaluator(
    learner: Learner,
    tasks: Source,
    num_tasks: int = 1000,
    steps: int = 10,
    seed: int = 1,
    queries_at_once: int | str = "all",
) -> Callable[[Meta], Evaluation]:
    """Return :func:`evaluate` as a function of the meta-parameters alone.

    The program is the learner's: it is compiled once for tasks of one size, whatever the seed and the source.

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
    learner.require_fit(drawn.first)
    batched(drawn.first, queries_at_once, (seed, 0))  # what makes no batches is refused here
    in_batches = queries_at_once != "all"

    finish = getattr(learner, "finish", None)

    def evaluate_meta(meta: Meta) -> Evaluation:
        meta = meta if finish is None else finish(meta)
        measured = kept(
            learner,
            (_measured, steps, in_batches),
            lambda: Compiled(functools.partial(_measured, learner, steps, in_batches), learner.mapping),
        )
        parts = [
            measured(
                meta, batched(chunk, queries_at_once, (seed, first)), tf.constant(seed), tf.constant(first)
            )
            for first, chunk in drawn.chunks()
        ]
        losses, metrics = tf.nest.map_structure(
            lambda *leaves: np.concatenate([leaf.numpy() for leaf in leaves]), *parts
        )
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
    first: tf.Tensor,
) -> Structure:
    """Return outer loss and metrics of each task after each step, ``[T, S+1]``."""
    problem, phi, tasks = learner.posed(meta, tasks, tf.stack([seed, first]))

    def of_batch(inner: Inner, task: Task) -> Structure:
        return outer_loss(problem, inner.parameters, phi, task, inner.model)

    def in_turn(inner: Inner, task: Task) -> Structure:
        of_batches = map_tasks(
            lambda batch: of_batch(inner, task._replace(query=batch)), task.query, mapping=problem.mapping
        )
        return tf.nest.map_structure(tf.reduce_mean, of_batches)

    query = in_turn if in_batches else of_batch
    return solve(problem, phi, tasks, steps, query)[1]


def _curve(per_task: np.ndarray) -> Curve:
    count = len(per_task)
    deviation = per_task.std(0, ddof=1, dtype=np.float64) if count > 1 else np.full(per_task.shape[1], np.nan)
    mean, ci95 = per_task.mean(0, dtype=np.float64), 1.96 * deviation / np.sqrt(count)
    return Curve(mean, ci95, per_task, np.median(per_task, 0))


def _diverged(losses: np.ndarray) -> np.ndarray:
    before = losses[:, 0]
    largest = np.max(before, initial=0.0, where=np.isfinite(before))
    return np.mean(~(losses <= DIVERGED * largest), axis=0)  # a comparison with NaN is false

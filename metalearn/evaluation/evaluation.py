"""Evaluation: how well, after how many steps, on a fixed list of fresh tasks."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.execution.compiled import Compiled
from metalearn.inner_loop import outer_loss, solve
from metalearn.problems.learner import Learner
from metalearn.sources import BLOCK_BYTES, Source, as_source, check_sampler, spec, task_bytes
from metalearn.types import Batch, Inner, Meta, Structure, Task

TASKS_AT_ONCE = 1000
"""The most tasks of one compiled call; fewer where they would take more than ``BLOCK_BYTES``."""

EVALUATION_STREAM = -1
"""Second half of the seed of evaluation tasks; training draws from 0 upwards, so they never coincide."""


class Curve(NamedTuple):
    """A metric of the query against inner steps.

    Attributes:
        mean: mean over the tasks, ``[S+1]``.
        ci95: half width of the normal 95 % interval of the mean, ``1.96 std / sqrt(num_tasks)``, ``[S+1]``;
            NaN for a single task.
        per_task: of each task, ``[num_tasks, S+1]``.
    """

    mean: np.ndarray
    ci95: np.ndarray
    per_task: np.ndarray


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
        metrics: what the outer loss reports beside its value, by name.
    """

    steps: np.ndarray
    mean: np.ndarray
    ci95: np.ndarray
    num_tasks: int
    tasks_hash: str
    per_task: np.ndarray
    metrics: Mapping[str, Curve] = types.MappingProxyType({})


def evaluate(
    learner: Learner,
    meta: Meta,
    tasks: Source,
    num_tasks: int = 1000,
    steps: int = 10,
    seed: int = 1,
) -> Evaluation:
    """Adapt to fresh tasks and return the query loss after 0, 1, ..., ``steps`` inner steps.

    Args:
        learner: its outer loss is the metric, its rule the inner update.
        meta: trained meta-parameters.
        tasks: source to draw from.
        num_tasks: at least 1.
        steps: S, at least 0; may exceed the steps of training.
        seed: of the list of tasks, and of the noise of models that have any.

    Raises:
        ValueError: if a count is too small, or the tasks do not fit the learner.
    """
    return evaluator(learner, tasks, num_tasks, steps, seed)(meta)


def evaluator(
    learner: Learner, tasks: Source, num_tasks: int = 1000, steps: int = 10, seed: int = 1
) -> Callable[[Meta], Evaluation]:
    """Return :func:`evaluate` as a function of the meta-parameters alone, which compiles once.

    Raises:
        ValueError: as :func:`evaluate` does, before anything is evaluated.
    """
    require_count("num_tasks", num_tasks)
    require_count("steps", steps, minimum=0)
    require_count("seed", seed, minimum=0)
    source = as_source(tasks)
    check_sampler(source)
    shapes = spec(source, 1)
    learner.require_fit(tf.nest.map_structure(lambda leaf: tf.zeros(leaf.shape, leaf.dtype), shapes))
    drawn = _counted(source.sample((seed, EVALUATION_STREAM), num_tasks), num_tasks)
    chunk = max(1, min(TASKS_AT_ONCE, BLOCK_BYTES // max(task_bytes(source), 1)))

    def measure(meta: Meta, tasks: Task, first: tf.Tensor) -> dict[str, tf.Tensor]:
        problem, phi, tasks = learner.posed(meta, tasks, tf.stack([seed, first]))

        def query(inner: Inner, task: Task) -> Structure:
            return outer_loss(problem, inner.parameters, phi, task, inner.model)

        return solve(problem, phi, tasks, steps, query)[1]

    measured = Compiled(measure, learner.mapping)

    def part(first: int) -> Task:
        return tf.nest.map_structure(lambda leaf: leaf[first : first + chunk], drawn)

    tasks_hash = _digest(drawn)

    def evaluate_meta(meta: Meta) -> Evaluation:
        firsts = range(0, num_tasks, chunk)
        parts = [measured(meta, part(first), tf.constant(first)) for first in firsts]
        losses, metrics = tf.nest.map_structure(
            lambda *leaves: np.concatenate([leaf.numpy() for leaf in leaves]), *parts
        )
        return Evaluation(
            steps=np.arange(steps + 1),
            **_curve(losses)._asdict(),
            num_tasks=num_tasks,
            tasks_hash=tasks_hash,
            metrics={name: _curve(values) for name, values in metrics.items()},
        )

    return evaluate_meta


def _curve(per_task: np.ndarray) -> Curve:
    count = len(per_task)
    deviation = per_task.std(0, ddof=1, dtype=np.float64) if count > 1 else np.full(per_task.shape[1], np.nan)
    return Curve(per_task.mean(0, dtype=np.float64), 1.96 * deviation / np.sqrt(count), per_task)


def _counted(drawn: Task, num_tasks: int) -> Task:
    """Return the tasks drawn, so that their number is known where they are empty."""
    return drawn if tf.nest.flatten(drawn) else drawn._replace(info=tf.zeros([num_tasks]))


def _digest(tasks: Task) -> str:
    digest = hashlib.sha256()
    parts = [_as_untold(part, tasks.info) for part in (tasks.support, tasks.query)]
    for leaf in tf.nest.flatten(parts):
        digest.update(f"{leaf.dtype.name}{leaf.shape}".encode() + leaf.numpy().tobytes())
    return digest.hexdigest()[:16]


def _as_untold(part: Structure, info: Structure) -> Structure:
    """Return examples without the task's info that an oracle finds at the end of its inputs."""
    if not isinstance(part, Batch) or not tf.is_tensor(part.inputs) or not tf.is_tensor(info):
        return part
    told, inputs = info.shape[-1], part.inputs
    if not told or inputs.shape.rank != 3 or inputs.shape[-1] <= told:
        return part
    is_told = tf.reduce_all(inputs[..., -told:] == tf.cast(info, inputs.dtype)[:, None])
    return part._replace(inputs=inputs[..., :-told]) if is_told else part

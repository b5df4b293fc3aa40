"""Evaluation: how well, after how many steps, on a fixed list of fresh tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.problems.bilevel import solve
from metalearn.problems.few_shot import MetaLearner
from metalearn.types import Batch, Meta, Parameters, Task, TaskDistribution

TASKS_AT_ONCE = 1000

EVALUATION_STREAM = -1
"""Second half of the seed of evaluation tasks; training draws from 0 upwards, so they never coincide."""


class Evaluation(NamedTuple):
    """Query loss against inner steps.

    Attributes:
        steps: 0 to S.
        mean: mean over the tasks, ``[S+1]``.
        ci95: half width of the normal 95 % interval of the mean, ``1.96 std / sqrt(num_tasks)``, ``[S+1]``.
        num_tasks: number of tasks.
        tasks_hash: digest of the tasks; equal for evaluations that can be compared task by task.
        per_task: loss of each task, ``[num_tasks, S+1]``.
    """

    steps: np.ndarray
    mean: np.ndarray
    ci95: np.ndarray
    num_tasks: int
    tasks_hash: str
    per_task: np.ndarray


def evaluate(
    learner: MetaLearner,
    meta: Meta,
    tasks: TaskDistribution,
    num_tasks: int = 1000,
    steps: int = 10,
    seed: int = 1,
) -> Evaluation:
    """Adapt to fresh tasks and return the query loss after 0, 1, ..., ``steps`` inner steps.

    Args:
        learner: its loss is the metric, its rule the inner update.
        meta: trained meta-parameters.
        tasks: distribution to draw from.
        num_tasks: at least 2.
        steps: S, at least 0; may exceed the steps of training.
        seed: of the list of tasks.

    Raises:
        ValueError: if a count is too small, or the tasks do not fit the model.
    """
    return evaluator(learner, tasks, num_tasks, steps, seed)(meta)


def evaluator(
    learner: MetaLearner, tasks: TaskDistribution, num_tasks: int = 1000, steps: int = 10, seed: int = 1
) -> Callable[[Meta], Evaluation]:
    """Return :func:`evaluate` as a function of the meta-parameters alone, which compiles once.

    Raises:
        ValueError: as :func:`evaluate` does, before anything is evaluated.
    """
    require_count("num_tasks", num_tasks, minimum=2)
    require_count("steps", steps, minimum=0)
    require_count("seed", seed, minimum=0)
    drawn = tasks.sample((seed, EVALUATION_STREAM), num_tasks)
    learner.require_fit(drawn)
    problem = learner.problem

    @tf.function(jit_compile=learner.jit_compile_advised, autograph=False)
    def query_losses(meta: Meta, tasks: Task) -> tf.Tensor:
        def query_loss(parameters: Parameters, task: Task) -> tf.Tensor:
            return problem.outer_loss(parameters, meta, task.query)

        return solve(problem, meta, tasks, steps, query_loss)[1]

    def part(first: int) -> Task:
        return tf.nest.map_structure(lambda leaf: leaf[first : first + TASKS_AT_ONCE], drawn)

    tasks_hash = _digest(drawn)

    def evaluate_meta(meta: Meta) -> Evaluation:
        losses = [query_losses(meta, part(first)).numpy() for first in range(0, num_tasks, TASKS_AT_ONCE)]
        per_task = np.concatenate(losses)
        return Evaluation(
            steps=np.arange(steps + 1),
            mean=per_task.mean(0, dtype=np.float64),
            ci95=1.96 * per_task.std(0, ddof=1, dtype=np.float64) / np.sqrt(num_tasks),
            num_tasks=num_tasks,
            tasks_hash=tasks_hash,
            per_task=per_task,
        )

    return evaluate_meta


def _digest(tasks: Task) -> str:
    digest = hashlib.sha256()
    for leaf in tf.nest.flatten(
        [_as_untold(batch, tasks.parameters) for batch in (tasks.support, tasks.query)]
    ):
        digest.update(f"{leaf.dtype.name}{leaf.shape}".encode() + leaf.numpy().tobytes())
    return digest.hexdigest()[:16]


def _as_untold(batch: Batch, parameters: tf.Tensor | tuple[()]) -> Batch:
    """Return a batch without the task's parameters that an oracle finds at the end of its inputs."""
    told = 0 if isinstance(parameters, tuple) else parameters.shape[-1]
    inputs = batch.inputs
    if not told or inputs.shape.rank != 3 or inputs.shape[-1] <= told:
        return batch
    is_told = tf.reduce_all(inputs[..., -told:] == tf.cast(parameters, inputs.dtype)[:, None])
    return batch._replace(inputs=inputs[..., :-told]) if is_told else batch

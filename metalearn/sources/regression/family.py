"""The common parts of families of regression tasks: settings, inputs, and the construction of tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from metalearn.checks import require_count, require_positive, require_range
from metalearn.random import Range, sample_normal, sample_uniform
from metalearn.types import Batch, Task


def check_settings(family: Any, *ranges: str) -> None:
    """Check ``shots``, ``queries``, ``noise`` and the named ranges of a family; convert ranges to tuples.

    Raises:
        ValueError: naming the setting and its value.
    """
    require_count("shots", family.shots)
    require_count("queries", family.queries)
    if family.noise != 0:
        require_positive("noise (0 for none)", family.noise)
    for name in ranges:
        require_range(name, getattr(family, name))
        object.__setattr__(family, name, tuple(getattr(family, name)))  # the families are frozen


def uniform_inputs(
    tasks: int, shots: int, queries: int, bounds: Range, grid: bool, seeds: Sequence[tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw scalar inputs ``[T, shots, 1]`` of the support and ``[T, queries, 1]`` of the query.

    Args:
        tasks: T.
        shots: the number of support inputs of a task.
        queries: the number of query inputs of a task.
        bounds: the range of the inputs.
        grid: whether query inputs are evenly spaced over the range, ends included, instead of random.
        seeds: one for the support, one for the query.
    """
    support = sample_uniform([tasks, shots, 1], seeds[0], bounds)
    if not grid:
        return support, sample_uniform([tasks, queries, 1], seeds[1], bounds)
    points = tf.linspace(*map(float, bounds), queries)
    return support, tf.tile(tf.cast(points, tf.float32)[None, :, None], [tasks, 1, 1])


def assemble(
    function: Callable[[tf.Tensor], tf.Tensor],
    parameters: Sequence[tf.Tensor],
    inputs: tuple[tf.Tensor, tf.Tensor],
    *,
    noise: float,
    seed: tf.Tensor,
    informed: bool,
) -> Task:
    """Return tasks.

    Args:
        function: a function from inputs ``[T, N, ...]`` to targets ``[T, N, 1]`` without noise.
        parameters: the parameters of the tasks, each ``[T, 1, ...]``, which become ``Task.info``.
        inputs: the inputs of the support and of the query.
        noise: the standard deviation of Gaussian noise on the targets of the support. The targets of the
            query have no noise, so the query error is the distance to the true function.
        seed: the seed of the noise.
        informed: whether the parameters are appended to every input of support and query, which becomes
            ``[T, N, 1 + D]`` for scalar inputs. Such a learner knows the task and does not need to adapt: it
            is the "oracle" of Finn, Abbeel and Levine (2017), section 5.1.
    """
    described = tf.concat(parameters, -1)
    support, query = map(function, inputs)
    if noise:
        support += sample_normal(support.shape, seed, deviation=noise)
    if informed:
        inputs = tuple(tf.concat([x, tf.repeat(described, x.shape[1], 1)], -1) for x in inputs)
    return Task(Batch(inputs[0], support), Batch(inputs[1], query), info=described[:, 0])

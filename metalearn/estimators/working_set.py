"""The number of tasks of a meta-batch whose largest value fits into the processor's cache."""

from __future__ import annotations

import tensorflow as tf

from metalearn.execution.choice import resolved
from metalearn.execution.chunks import largest_within, size_of_chunk
from metalearn.inner_loop import inner_loss, inner_start, number_of_tasks, outer_loss, step_number
from metalearn.types import Meta, Problem, Task


def tasks_at_once(problem: Problem, phi: Meta, tasks: Task) -> int:
    """Return how many of T tasks to process together, see :func:`metalearn.execution.chunks.size_of_chunk`.

    The values of a task are its examples, the state of its inner loop, and the values within its losses.

    Args:
        problem: the bilevel problem; if its tasks are mapped one after the other, the result is T.
        phi: the meta-parameters.
        tasks: leaves ``[T, ...]``.
    """
    count = number_of_tasks(tasks)
    if count == 1 or resolved(problem.mapping) == "sequential":
        return count
    with tf.__internal__.FuncGraph("one").as_default() as graph:  # only for its shapes
        one = tf.nest.map_structure(lambda leaf: tf.compat.v1.placeholder(leaf.dtype, leaf.shape[1:]), tasks)
        inner = inner_start(problem, phi, one)
        if problem.steps:
            inner_loss(problem, inner.parameters, phi, problem.batch(one, step_number(one, 0)), inner.model)
        outer_loss(problem, inner.parameters, phi, one, inner.model)
    return size_of_chunk(count, largest_within(graph))

"""What sizes determine: how many tasks are processed together, and how adapted kernels are stored."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from metalearn.execution.choice import resolved
from metalearn.execution.chunks import largest_between, size_of_chunk
from metalearn.execution.layout import FUSED_STEPS
from metalearn.execution.low_rank import avoids_matrices, represented
from metalearn.inner_loop import inner_start, inner_step, number_of_tasks, outer_loss
from metalearn.types import Meta, Problem, Task


class WorkingSet(NamedTuple):
    """The values of a program that are computed at a time.

    Attributes:
        tasks: the number of tasks that are processed together, a divisor of T.
        products: whether adapted kernels are represented by outer products.
    """

    tasks: int
    products: bool


def working_set(problem: Problem, phi: Meta, tasks: Task) -> WorkingSet:
    """Return how to process T tasks, see :mod:`metalearn.execution.chunks` and
    :mod:`metalearn.execution.low_rank`.

    Both follow from the forward pass of one task: its inner loop and its outer loss. If steps are a loop in
    the graph, its values include the state of the inner loop.

    Args:
        problem: the bilevel problem; if its tasks are mapped one after the other, they are not divided.
        phi: the meta-parameters.
        tasks: leaves ``[T, ...]``.
    """
    count = number_of_tasks(tasks)
    if resolved(problem.mapping) == "sequential":
        return WorkingSet(count, False)
    looped = problem.steps > FUSED_STEPS
    with tf.__internal__.FuncGraph("one").as_default(), represented(None if looped else problem.steps):
        one = tf.nest.map_structure(lambda leaf: tf.compat.v1.placeholder(leaf.dtype, leaf.shape[1:]), tasks)
        inner = inner_start(problem, phi, one)
        results = [inner] if looped else []
        for index in range(1 if looped else problem.steps):
            inner = inner_step(problem, inner, phi, one, index)
        results.append(outer_loss(problem, inner.parameters, phi, one, inner.model)[0])
        products = avoids_matrices(inner.parameters, results)
    return WorkingSet(size_of_chunk(count, largest_between(one, results)), products)

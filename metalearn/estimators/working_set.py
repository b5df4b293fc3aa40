"""What sizes determine: how many tasks are processed together, and how adapted kernels are stored."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from metalearn.execution.choice import resolved
from metalearn.execution.chunks import largest_between, size_of_chunk
from metalearn.execution.layout import FUSED_STEPS
from metalearn.execution.low_rank import adds_products, avoids_matrices, represented
from metalearn.inner_loop import inner_start, inner_step, number_of_tasks, outer_loss
from metalearn.types import Meta, Problem, Task


class WorkingSet(NamedTuple):
    """The values of a program that are computed at a time.

    Attributes:
        tasks: the number of tasks that are processed together, a divisor of T.
        products: whether adapted kernels are represented by outer products.
        shared: the names of the parameters whose initial values the tasks share. Others have a copy for each
            task, because XLA multiplies small matrices faster in a batch.
    """

    tasks: int
    products: bool = False
    shared: frozenset[str] = frozenset()


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
        return WorkingSet(count)
    if problem.steps > FUSED_STEPS:
        return WorkingSet(size_of_chunk(count, _values(problem, phi, tasks, 1, True)[0]))
    # One step shows whether the steps' changes of a kernel can be represented.
    with represented(problem.steps):
        largest, products, changed = _values(problem, phi, tasks, min(problem.steps, 1), False)
        if products and problem.steps > 1:
            largest, products, _ = _values(problem, phi, tasks, problem.steps, False)
    shared = changed if problem.steps == 1 and not products else frozenset[str]()
    return WorkingSet(size_of_chunk(count, largest), products, shared)


def _values(
    problem: Problem, phi: Meta, tasks: Task, steps: int, stored: bool
) -> tuple[int, bool, frozenset[str]]:
    """Return the bytes of the largest value of a task, whether adapted kernels are represented, and which
    kernels tasks may share: those that a step adds a product of matrices to.

    A step over few examples adds a sum of outer products instead. If tasks shared the kernel then, XLA would
    compute the factors of that sum again for each of its entries.

    Args:
        problem: the bilevel problem.
        phi: the meta-parameters.
        tasks: leaves ``[T, ...]``.
        steps: the number of inner steps that are traced.
        stored: whether the values include the state of the inner loop.
    """
    with tf.__internal__.FuncGraph("one").as_default():
        one = tf.nest.map_structure(lambda leaf: tf.compat.v1.placeholder(leaf.dtype, leaf.shape[1:]), tasks)
        inner = inner_start(problem, phi, one)
        results: list[Any] = [inner] if stored else []
        for index in range(steps):
            inner = inner_step(problem, inner, phi, one, index)
        results.append(outer_loss(problem, inner.parameters, phi, one, inner.model)[0])
        changed = frozenset(name for name, leaf in inner.parameters.items() if adds_products(leaf))
        return largest_between(one, results), avoids_matrices(inner.parameters, results), changed

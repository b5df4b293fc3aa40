"""A meta-batch worked on a few tasks at a time, so that what they need stays in the processor's cache.

One loop over all tasks reads and writes intermediate values of all of them between any two operations. Where
these are more than a cache holds, a task takes up to twice the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metalearn.types import Structure

CACHE_BYTES = 7 * 2**18
"""Values of tasks that are worked on together, at most: most of a second-level cache of 2 MiB."""

FEWEST = 16
"""Of tasks in a chunk, unless it is one: XLA compiles sums over 5 tasks into a program that takes more than
twice the time of one for 25, or for a single task 25 times."""


def size_of_chunk(tasks: int, bytes_of_task: int) -> int:
    """Return how many of T tasks to work on together.

    All of them, if they take less than twice of what a cache holds. Else the most that fit into it and divide
    T, if that is at least :data:`FEWEST`; or one, if so many do not fit. All again where no such number
    divides T, as where it is prime, and on a GPU, which works on many at once.

    It depends on T and the bytes alone: all processors sum a meta-batch in the same order.

    Args:
        tasks: T.
        bytes_of_task: of the values that a task is worked on with.
    """
    fit = CACHE_BYTES // max(bytes_of_task, 1)
    if tasks * bytes_of_task < 2 * CACHE_BYTES or tf.config.list_physical_devices("GPU"):
        return tasks
    if fit < FEWEST:
        return 1
    return max((size for size in range(FEWEST, fit + 1) if tasks % size == 0), default=tasks)


def bytes_within(graph: tf.Graph) -> int:
    """Return the bytes of all values in a graph whose shapes are known, those in loops apart."""
    values = [value for operation in graph.get_operations() for value in operation.outputs]
    known = [value for value in values if value.shape.is_fully_defined() and value.dtype.size]
    return sum(value.shape.num_elements() * value.dtype.size for value in known)


def in_chunks(
    function: Callable[[Structure], tuple[Structure, Structure]], tasks: Structure, size: int
) -> tuple[Structure, Structure]:
    """Return ``function(tasks)``, worked out for ``size`` tasks at a time.

    Args:
        function: of leaves ``[C, ...]``, for any number C of tasks: what it finds of each, ``[C, ...]``, and
            a mean over them.
        tasks: leaves ``[T, ...]``.
        size: of a chunk, a divisor of T.

    Returns:
        What is found of each task, ``[T, ...]``, and the mean over all: that of the chunks' means.
    """
    count = tf.nest.flatten(tasks)[0].shape[0] // size
    if count == 1:
        return function(tasks)
    parts = tf.nest.map_structure(lambda leaf: tf.reshape(leaf, [count, size, *leaf.shape[1:]]), tasks)
    # Traced before the loop, which has to know what it will return.
    specs = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape[1:], leaf.dtype), parts)
    traced = tf.function(function, autograph=False).get_concrete_function(specs)
    each, mean = traced.structured_outputs
    arrays = [tf.TensorArray(leaf.dtype, count, element_shape=leaf.shape) for leaf in tf.nest.flatten(each)]
    zeros = tf.nest.map_structure(lambda leaf: tf.zeros(leaf.shape, leaf.dtype), mean)

    def body(index: tf.Tensor, arrays: list[tf.TensorArray], total: Structure) -> tuple[Any, ...]:
        found, mean = traced(tf.nest.map_structure(lambda leaf: tf.gather(leaf, index), parts))
        leaves = tf.nest.flatten(found)
        arrays = [array.write(index, leaf) for array, leaf in zip(arrays, leaves, strict=True)]
        return index + 1, arrays, tf.nest.map_structure(lambda total, one: total + one / count, total, mean)

    start = tf.constant(0), arrays, zeros
    _, arrays, total = tf.while_loop(lambda index, *_: index < count, body, start, parallel_iterations=1)
    stacked = [tf.reshape(array.stack(), [count * size, *array.element_shape[1:]]) for array in arrays]
    return tf.nest.pack_sequence_as(each, stacked), total

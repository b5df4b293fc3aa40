"""Chunks of a meta-batch whose intermediate values fit into the processor's cache.

An operation on all tasks reads and writes the values of all of them. If a single value of all tasks exceeds
the cache, a task takes up to twice the time. The sum of all values does not matter as much: the next
operation needs few of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metalearn.execution.reads import read_by, read_for
from metalearn.types import Structure

CACHE_BYTES = 2**20
"""The largest size of a value of a chunk, of all its tasks together: a second-level cache is 1 to 2 MiB."""

FEWEST = 16
"""The smallest number of tasks in a chunk of small values: as XLA compiles them, sums over 5 tasks then take
more than twice the time per task of those over 25 tasks."""


def size_of_chunk(tasks: int, bytes_of_value: int) -> int:
    """Return how many of T tasks to process together.

    It is T if the largest value of all tasks fits into the cache; else the largest divisor of T for which it
    fits. If it would fit for more than :data:`FEWEST` tasks, smaller divisors do not count: it is T if there
    is no other, for instance for a prime T. It is 1 if not even the value of one task fits, and T on a GPU,
    which processes many tasks in parallel.

    It depends only on T and the bytes, so all processors sum a meta-batch in the same order.

    Args:
        tasks: T.
        bytes_of_value: the bytes of the largest value of a task, see :func:`largest_between`.
    """
    fit = CACHE_BYTES // max(bytes_of_value, 1)
    if tasks <= fit or tf.config.list_physical_devices("GPU"):
        return tasks
    least, otherwise = (FEWEST, tasks) if fit > FEWEST else (1, 1)
    return max((size for size in range(least, fit + 1) if tasks % size == 0), default=otherwise)


def largest_between(given: Structure, results: Structure) -> int:
    """Return the bytes of the largest value that depends on ``given`` and that ``results`` need.

    Values with unknown shapes and values within loops of the graph do not count.

    Args:
        given: tensors of a graph.
        results: tensors of the same graph.
    """
    read, dependent = read_for(results), {id(leaf) for leaf in tf.nest.flatten(given)}
    for operation in tf.nest.flatten(results)[0].graph.get_operations():  # inputs come before their uses
        for value in operation.outputs:
            if any(id(each) in dependent for each in read_by(value)):
                dependent.add(id(value))
    return max((_bytes(value) for key, value in read.items() if key in dependent), default=0)


def _bytes(value: tf.Tensor) -> int:
    return value.shape.num_elements() * value.dtype.size if value.shape.is_fully_defined() else 0


def in_chunks(
    function: Callable[[Structure], tuple[Structure, Structure]], tasks: Structure, size: int
) -> tuple[Structure, Structure]:
    """Return ``function(tasks)``, computed for ``size`` tasks at a time.

    Args:
        function: a function of leaves ``[C, ...]``, for any number C of tasks, that returns results of each
            task, ``[C, ...]``, and a mean over tasks.
        tasks: leaves ``[T, ...]``.
        size: the size of a chunk, a divisor of T.

    Returns:
        The results of each task, ``[T, ...]``, and the mean of the chunks' means.
    """
    count = tf.nest.flatten(tasks)[0].shape[0] // size
    if count == 1:
        return function(tasks)
    parts = tf.nest.map_structure(lambda leaf: tf.reshape(leaf, [count, size, *leaf.shape[1:]]), tasks)
    # Traced before the loop, which needs the types of its results.
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

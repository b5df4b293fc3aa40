"""The mean over tasks, in a form that XLA compiles efficiently."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from metalearn.execution.choice import resolved
from metalearn.execution.chunks import CACHE_BYTES, FEWEST
from metalearn.execution.low_rank import Pair, are_represented, factors, summands
from metalearn.types import Structure, TaskMapping

LARGEST = 512
"""The largest size of a task's leaf for which the mean is computed as a product."""

ROWS = 2
"""The number of equal rows of that product; XLA would convert one row back to a sum."""


class Addends(NamedTuple):
    """A matrix ``[I, O]`` of one task as a sum.

    Attributes:
        computed: matrices ``[I, O]``.
        products: factors ``[R, I]`` and ``[R, O]``, for each sum of R outer products.
        represented: likewise, of matrices that are represented by few outer products.
    """

    computed: list[tf.Tensor]
    products: list[Pair]
    represented: list[Pair]


def addends(structure: Structure, tasks: int, mapping: TaskMapping) -> list[Addends | tuple[()]]:
    """Return the leaves of one task as sums, for :func:`mean_over_tasks`; ``()`` to compute the leaf.

    Matrices that are not represented by few outer products are computed if tasks are mapped one after the
    other, because the factors of all tasks would be stored, if these do not fit into the cache, or if the
    tasks are few, as in chunks with wide layers, where less is saved than wider products cost.

    Args:
        structure: leaves of one task.
        tasks: T.
        mapping: how the tasks are mapped.
    """
    is_worth_it = tasks >= FEWEST and resolved(mapping) == "vectorized"
    room = CACHE_BYTES // tasks if is_worth_it else 0
    return [_addends(leaf, room) for leaf in tf.nest.flatten(structure)]


def _addends(leaf: tf.Tensor, room: int) -> Addends | tuple[()]:
    found = factors(leaf)
    if found is not None:
        return () if found.base is not None else Addends([], [], [(found.left, found.right)])
    if are_represented():
        return ()
    computed, products = summands(leaf)
    sizes = [sum(factor.shape.num_elements() for factor in pair) for pair in products]
    return Addends(computed, products, []) if sizes and max(sizes) * leaf.dtype.size <= room else ()


def mean_over_tasks(structure: Structure, of_sums: list[Addends | tuple[()]] | None = None) -> Structure:
    """Return the mean of every leaf ``[T, ...]`` over its first axis.

    XLA fuses a sum with the sum over examples within the leaf into one loop that recomputes the layer for
    each entry. It does not fuse a matrix product, with which an iteration of the default training takes an
    eighth less time. The mean of products over examples is one product over the examples of all tasks.

    Args:
        structure: each leaf ``[T, ...]``.
        of_sums: the :func:`addends` of every leaf, ``[T, ...]``, where known; their leaves are not used.
    """
    leaves = tf.nest.flatten(structure)
    sums = of_sums or [()] * len(leaves)
    means = [_of_sum(each) if each else _mean(leaf) for leaf, each in zip(leaves, sums, strict=True)]
    return tf.nest.pack_sequence_as(structure, means)


def _of_sum(addends: Addends) -> tf.Tensor:
    # Few factors are divided where XLA computes them; of many, the product is smaller.
    means = [_over_all(left / left.shape[0], right) for left, right in addends.represented]
    means += [_over_all(left, right) / left.shape[0] for left, right in addends.products]
    return tf.add_n([*means, *(_as_product(each) for each in addends.computed)])


def _over_all(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Return the sum over tasks and outer products, for factors ``[T, R, I]`` and ``[T, R, O]``."""
    left, right = (tf.reshape(factor, [-1, factor.shape[-1]]) for factor in (left, right))
    return tf.matmul(left, right, transpose_a=True)


def _mean(leaf: tf.Tensor) -> tf.Tensor:
    shape = leaf.shape
    if not shape.is_fully_defined() or shape[0] == 1 or shape.num_elements() > LARGEST * shape[0]:
        return tf.reduce_mean(leaf, axis=0)
    return _as_product(leaf)


def _as_product(leaf: tf.Tensor) -> tf.Tensor:
    shape = leaf.shape
    weights = tf.fill([ROWS, shape[0]], tf.constant(1 / shape[0], leaf.dtype))
    return tf.reshape(tf.matmul(weights, tf.reshape(leaf, [shape[0], -1]))[0], shape[1:])

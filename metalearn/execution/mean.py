"""The mean over tasks, in a form that XLA compiles efficiently."""

from __future__ import annotations

from typing import TypeAlias

import tensorflow as tf

from metalearn.execution.low_rank import factors
from metalearn.types import Structure

LARGEST = 512
"""The largest size of a task's leaf for which the mean is computed as a product."""

ROWS = 2
"""The number of equal rows of that product; XLA would convert one row back to a sum."""


Addend: TypeAlias = "tuple[tf.Tensor, tf.Tensor] | tuple[()]"
"""A matrix of one task as factors ``[R, I]`` and ``[R, O]``, or empty if they are not cheaper."""


def addends(structure: Structure) -> list[Addend]:
    """Return the leaves of one task as factors, for :func:`mean_over_tasks`."""
    found = [factors(leaf) for leaf in tf.nest.flatten(structure)]
    return [(each.left, each.right) if each and each.base is None else () for each in found]


def mean_over_tasks(structure: Structure, of_factors: list[Addend] | None = None) -> Structure:
    """Return the mean of every leaf ``[T, ...]`` over its first axis.

    XLA fuses a sum with the sum over examples within the leaf into one loop that recomputes the layer for
    each entry. It does not fuse a matrix product, with which an iteration of the default training takes an
    eighth less time. The mean of products over examples is one product over the examples of all tasks.

    Args:
        structure: each leaf ``[T, ...]``.
        of_factors: the :func:`addends` of every leaf, ``[T, ...]``, where known; their leaves are not used.
    """
    leaves = tf.nest.flatten(structure)
    pairs = of_factors or [()] * len(leaves)
    means = [_of_products(*pair) if pair else _mean(leaf) for leaf, pair in zip(leaves, pairs, strict=True)]
    return tf.nest.pack_sequence_as(structure, means)


def _of_products(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    tasks = left.shape[0]
    left, right = (tf.reshape(factor, [-1, factor.shape[-1]]) for factor in (left, right))
    return tf.matmul(left / tasks, right, transpose_a=True)


def _mean(leaf: tf.Tensor) -> tf.Tensor:
    shape = leaf.shape
    if not shape.is_fully_defined() or shape[0] == 1 or shape.num_elements() > LARGEST * shape[0]:
        return tf.reduce_mean(leaf, axis=0)
    weights = tf.fill([ROWS, shape[0]], tf.constant(1 / shape[0], leaf.dtype))
    return tf.reshape(tf.matmul(weights, tf.reshape(leaf, [shape[0], -1]))[0], shape[1:])

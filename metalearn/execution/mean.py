"""The mean over tasks, in a form that XLA compiles efficiently."""

from __future__ import annotations

import tensorflow as tf

from metalearn.types import Structure

LARGEST = 512
"""The largest size of a task's leaf for which the mean is computed as a product."""

ROWS = 2
"""The number of equal rows of that product; XLA would convert one row back to a sum."""


def mean_over_tasks(structure: Structure) -> Structure:
    """Return the mean of every leaf ``[T, ...]`` over its first axis.

    XLA fuses a sum with the sum over examples within the leaf into one loop that recomputes the layer for
    each entry. It does not fuse a matrix product, with which an iteration of the default training takes an
    eighth less time.
    """
    return tf.nest.map_structure(_mean, structure)


def _mean(leaf: tf.Tensor) -> tf.Tensor:
    shape = leaf.shape
    if not shape.is_fully_defined() or shape[0] == 1 or shape.num_elements() > LARGEST * shape[0]:
        return tf.reduce_mean(leaf, axis=0)
    weights = tf.fill([ROWS, shape[0]], tf.constant(1 / shape[0], leaf.dtype))
    return tf.reshape(tf.matmul(weights, tf.reshape(leaf, [shape[0], -1]))[0], shape[1:])

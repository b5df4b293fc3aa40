"""The mean over tasks, in the form that XLA compiles well."""

from __future__ import annotations

import tensorflow as tf

from metalearn.types import Structure

LARGEST = 512
"""Numbers of a task's leaf up to which its mean is a product."""

ROWS = 2
"""Equal rows of that product: of one row, XLA makes a sum again."""


def mean_over_tasks(structure: Structure) -> Structure:
    """Return the mean of every leaf ``[T, ...]`` over its first axis.

    As a sum, XLA merges it with the sum over examples that the leaf is made of, into one loop that computes
    the layer anew for each entry. A product of matrices it takes as it is: an iteration of the default
    training takes an eighth less time.
    """
    return tf.nest.map_structure(_mean, structure)


def _mean(leaf: tf.Tensor) -> tf.Tensor:
    shape = leaf.shape
    if not shape.is_fully_defined() or shape[0] == 1 or shape.num_elements() > LARGEST * shape[0]:
        return tf.reduce_mean(leaf, axis=0)
    weights = tf.fill([ROWS, shape[0]], tf.constant(1 / shape[0], leaf.dtype))
    return tf.reshape(tf.matmul(weights, tf.reshape(leaf, [shape[0], -1]))[0], shape[1:])

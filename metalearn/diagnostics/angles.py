"""Lengths and angles of gradients, safe from overflow and from dividing by nothing."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from metalearn.types import Structure

Metrics = dict[str, tf.Tensor]
"""What every diagnosis returns: scalars ``[]`` of the gradients' type, by name."""


def flat(structure: Structure, axes: int = 0) -> tf.Tensor:
    """Return all leaves side by side, keeping ``axes`` leading axes: ``[P]``, or ``[T, P]`` with one.

    Leaves are cast to the type of the first.
    """
    leaves = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(structure)]
    rows = [
        # Known lengths as constants: in a graph, asking for them is most of the work.
        tf.reshape(leaf, [*(-1 if size is None else size for size in leaf.shape[:axes]), _size(leaf, axes)])
        for leaf in leaves
    ]
    return tf.concat([tf.cast(row, leaves[0].dtype) for row in rows], axis=-1)


def _size(leaf: tf.Tensor, axes: int) -> int:
    size: int = leaf.shape[axes:].num_elements()
    return size


def norm(vectors: tf.Tensor) -> tf.Tensor:
    """Return Euclidean lengths, ``[..., P] -> [...]``."""
    scale, scaled = _scaled(vectors)
    return scale[..., 0] * tf.norm(scaled, axis=-1)


def unit(vectors: tf.Tensor) -> tf.Tensor:
    """Return vectors of length 1 in the same directions, ``[..., P]``; zero for zero."""
    _, scaled = _scaled(vectors)
    return _divided(scaled, tf.norm(scaled, axis=-1, keepdims=True))


def numbers(structure: Structure) -> tf.Tensor:
    """Return ``[P]``: which leaf each entry of ``flat(structure)`` is of, counted from 0."""
    ends = np.cumsum([leaf.shape.num_elements() for leaf in tf.nest.flatten(structure)])
    return tf.searchsorted(tf.constant(ends), tf.range(ends[-1]), side="right")


def lengths(vectors: tf.Tensor, structure: Structure) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the lengths ``[..., V]`` of vectors' parts, and the vectors with each part of length 1.

    A part that is zero stays so. A few operations for all parts: their number is what building costs.

    Args:
        vectors: ``[P]`` or ``[M, P]``.
        structure: V leaves, of which a vector is as :func:`flat` makes it.
    """
    parts, count, columns = numbers(structure), len(tf.nest.flatten(structure)), tf.transpose(vectors)
    scale = tf.math.unsorted_segment_max(tf.abs(columns), parts, count)
    scaled = _divided(columns, tf.gather(scale, parts))
    long = tf.sqrt(tf.math.unsorted_segment_sum(tf.square(scaled), parts, count))
    return tf.transpose(scale * long), tf.transpose(_divided(scaled, tf.gather(long, parts)))


def cosine(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Return ``<left, right> / (|left| |right|)``, ``[..., P], [..., P] -> [...]``.

    0 where either is zero; NaN where either is not finite.
    """
    return tf.reduce_sum(unit(left) * unit(right), -1)


def share(condition: tf.Tensor, of: tf.Tensor) -> tf.Tensor:
    """Return the fraction of entries where ``condition`` holds; NaN if an entry of ``of`` is NaN.

    Comparisons with NaN are false: a task that diverged would count as healthy.
    """
    return tf.reduce_mean(tf.where(tf.math.is_nan(of), of, tf.cast(condition, of.dtype)))


def largest(values: tf.Tensor) -> tf.Tensor:
    """Return the largest of all entries, ``[]``; NaN if there is one, which XLA's maximum passes over."""
    has_nan = tf.reduce_any(tf.math.is_nan(values))
    return tf.where(has_nan, tf.constant(np.nan, values.dtype), tf.reduce_max(values))


def _scaled(vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the largest absolute entry, ``[..., 1]``, and vectors divided by it: squares do not overflow."""
    scale = tf.reduce_max(tf.abs(vectors), axis=-1, keepdims=True)
    return scale, _divided(vectors, scale)


def _divided(vectors: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Divide, zero by zero being zero; unlike ``divide_no_nan``, NaN by zero is NaN."""
    return vectors / tf.where(tf.equal(lengths, 0), tf.ones_like(lengths), lengths)

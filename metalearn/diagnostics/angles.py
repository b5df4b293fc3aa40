"""Lengths and angles of gradients, without overflow and division by zero."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from metalearn.types import Structure

Metrics = dict[str, tf.Tensor]
"""The result of every diagnostic: scalars ``[]`` of the gradients' type, by name."""


def flat(structure: Structure, axes: int = 0) -> tf.Tensor:
    """Return all leaves concatenated, keeping ``axes`` leading axes: ``[P]``, or ``[T, P]`` with one.

    Leaves are cast to the type of the first one.
    """
    leaves = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(structure)]
    rows = [
        # Known lengths as constants, because most of the tracing time is for dynamic shapes.
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
    """Return vectors of length 1 in the same directions, ``[..., P]``; zero vectors stay zero."""
    _, scaled = _scaled(vectors)
    return _divided(scaled, tf.norm(scaled, axis=-1, keepdims=True))


def numbers(structure: Structure) -> tf.Tensor:
    """Return ``[P]``, the index of the leaf of each entry of ``flat(structure)``, counted from 0."""
    ends = np.cumsum([leaf.shape.num_elements() for leaf in tf.nest.flatten(structure)])
    return tf.searchsorted(tf.constant(ends), tf.range(ends[-1]), side="right")


def lengths(vectors: tf.Tensor, structure: Structure) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the lengths ``[..., V]`` of the parts of vectors, and the vectors with parts of length 1.

    Parts of zeros stay zero. There are a few operations for all parts together, because tracing time grows
    with the number of operations.

    Args:
        vectors: ``[P]`` or ``[M, P]``.
        structure: V leaves; a vector is the result of :func:`flat` for such a structure.
    """
    parts, count, columns = numbers(structure), len(tf.nest.flatten(structure)), tf.transpose(vectors)
    scale = tf.math.unsorted_segment_max(tf.abs(columns), parts, count)
    scaled = _divided(columns, tf.gather(scale, parts))
    long = tf.sqrt(tf.math.unsorted_segment_sum(tf.square(scaled), parts, count))
    return tf.transpose(scale * long), tf.transpose(_divided(scaled, tf.gather(long, parts)))


def cosine(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Return ``<left, right> / (|left| |right|)``, ``[..., P], [..., P] -> [...]``.

    It is 0 if either vector is zero, and NaN if either is not finite.
    """
    return tf.reduce_sum(unit(left) * unit(right), -1)


def share(condition: tf.Tensor, of: tf.Tensor) -> tf.Tensor:
    """Return the fraction of entries that fulfil ``condition``; NaN if an entry of ``of`` is NaN.

    Comparisons with NaN are false, so a diverged task would otherwise count as healthy.
    """
    return tf.reduce_mean(tf.where(tf.math.is_nan(of), of, tf.cast(condition, of.dtype)))


def largest(values: tf.Tensor) -> tf.Tensor:
    """Return the largest entry, ``[]``; NaN if there is one, which XLA's maximum ignores."""
    has_nan = tf.reduce_any(tf.math.is_nan(values))
    return tf.where(has_nan, tf.constant(np.nan, values.dtype), tf.reduce_max(values))


def _scaled(vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the largest absolute entry, ``[..., 1]``, and vectors divided by it, so no square overflows."""
    scale = tf.reduce_max(tf.abs(vectors), axis=-1, keepdims=True)
    return scale, _divided(vectors, scale)


def _divided(vectors: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Divide, with 0 / 0 = 0; unlike ``divide_no_nan``, NaN / 0 is NaN."""
    return vectors / tf.where(tf.equal(lengths, 0), tf.ones_like(lengths), lengths)

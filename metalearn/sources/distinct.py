"""Sampling without replacement from sets of different sizes, in a graph."""

from __future__ import annotations

import tensorflow as tf

from metalearn.execution.loops import fold
from metalearn.random import uniform
from metalearn.types import Seed


def draw_below(bound: tf.Tensor, shape: list[int], seed: Seed) -> tf.Tensor:
    """Draw integers uniformly from 0, ..., bound - 1, int32 of ``shape``, to which ``bound`` broadcasts."""
    scaled = uniform(shape, seed, tf.float64) * tf.cast(bound, tf.float64)
    return tf.cast(tf.floor(scaled), tf.int32)


def draw_distinct(sizes: tf.Tensor, count: int, seed: Seed) -> tf.Tensor:
    """Draw ``count`` different integers below each size; all ordered selections have the same probability.

    The i-th integer is drawn as a rank r among the ``size - i`` remaining numbers. If the earlier ones in
    ascending order are ``c_0 < c_1 < ...``, the number of rank r is ``r + #{j: c_j - j <= r}``. No array of
    the length of a data set is sorted or stored.

    Args:
        sizes: int32 ``[T]``, each at least ``count``.
        count: k, at least 1.
        seed: two integers.

    Returns:
        int32 ``[T, k]``.
    """
    tasks = sizes.shape[0]
    positions = tf.range(count)
    left = sizes[:, None] - positions
    ranks = draw_below(left, [tasks, count], seed)
    none = tf.fill([tasks, count], tf.int32.max)

    def draw(carry: tuple[tf.Tensor, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        drawn, ascending = carry
        rank = tf.gather(ranks, step, axis=1)[:, None]
        before = tf.reduce_sum(tf.cast(ascending - positions <= rank, tf.int32), 1, keepdims=True)
        number = rank + before
        drawn = tf.where(positions == step, number, drawn)
        # Inserted after all smaller ones. Entries that are not drawn yet are the largest integer.
        behind = tf.concat([ascending[:, :1], ascending[:, :-1]], 1)
        behind = tf.where(positions == before, number, behind)
        return drawn, tf.where(positions < before, ascending, behind)

    drawn, _ = fold(draw, (none, none), count, in_graph=True)
    return tf.ensure_shape(drawn, [tasks, count])

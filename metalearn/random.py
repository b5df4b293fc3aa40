"""Random numbers that are the same eagerly, in a graph and under XLA."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

Range = tuple[float, float]

BITS = 24
"""Bits of a float32's significand."""


def split_seed(seed: tf.Tensor | tuple[int, int], count: int) -> list[tf.Tensor]:
    """Return ``count`` seeds, each for an independent stream; more streams leave the first ones as they are.

    Args:
        seed: two integers.
        count: at least 1.
    """
    return tf.unstack(tf.random.experimental.stateless_split(seed, count, alg="philox"))


def sample_uniform(shape: Sequence[int], seed: tf.Tensor, bounds: Range) -> tf.Tensor:
    """Draw from ``U[low, high)``: float32, ``low + (high - low) i / 2^24`` for a uniform integer i.

    TensorFlow's kernels and XLA draw the same Philox bits from a seed, but ``stateless_uniform`` turns them
    into different floats; so the integers are drawn, and turned into floats here.

    Args:
        shape: of what is drawn.
        seed: two integers, ``[2]``.
        bounds: low and high.
    """
    low, high = bounds
    integers = tf.random.stateless_uniform(shape, seed, None, None, tf.uint32, alg="philox")
    leading = tf.bitwise.right_shift(integers, tf.constant(32 - BITS, tf.uint32))
    return low + (high - low) * (tf.cast(leading, tf.float32) * 2.0**-BITS)


def sample_normal(
    shape: Sequence[int], seed: tf.Tensor, mean: float = 0.0, deviation: float = 1.0
) -> tf.Tensor:
    """Draw from ``N(mean, deviation^2)``: float32, by Box and Muller from two uniform numbers each.

    ``mean + deviation sqrt(-2 log(1 - u)) cos(2 pi v)``. As u is below 1 by at least 2^-24, nothing is
    further from the mean than 5.8 deviations (a normal number is, once in 10^8).

    Args:
        shape: of what is drawn.
        seed: two integers, ``[2]``.
        mean: of every number.
        deviation: standard deviation, at least 0.
    """
    radial, angular = tf.unstack(sample_uniform([2, *shape], seed, (0.0, 1.0)))
    standard = tf.sqrt(-2.0 * tf.math.log1p(-radial)) * tf.cos(2 * math.pi * angular)
    return mean + deviation * standard


def fold_in(seed, *numbers):
    seed = tf.convert_to_tensor(seed, tf.int32)
    for number in numbers:
        seed = tf.random.experimental.stateless_fold_in(seed, number, alg="philox")
    return seed

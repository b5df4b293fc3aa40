"""Random numbers that are the same eagerly, in a graph and under XLA."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

Range = tuple[float, float]

BITS = 24
"""Bits of a float32's significand."""


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

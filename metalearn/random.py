"""Random numbers as pure functions of a seed: the same eagerly, in a graph and under XLA.

TensorFlow's kernels and XLA draw the same Philox bits from a seed, but turn them into different floats. So
only integers are drawn with TensorFlow, and turned into floats here, by operations that round alike.

The integers are those of ``tf.random`` with ``alg="philox"``. Its functions scramble a seed in Python, by
some forty operations a draw, which cost more than the draw and have to be traced each time; here it is a few.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import tensorflow as tf

from metalearn.checks import require_range
from metalearn.nest import as_type
from metalearn.types import Seed, Structure

Range = tuple[float, float]

Shape: TypeAlias = "Sequence[int] | tf.TensorShape"

BITS = 24
"""Bits of a float32's significand."""

DOUBLE_BITS = 53
"""Bits of a float64's significand."""

PHILOX = 1
"""The generator, as TensorFlow's operations number it."""

SCRAMBLING_KEY = 0x02461E293EC8F720
"""The key with which TensorFlow scrambles seeds (``stateless_random_ops.cc``)."""

_share: ContextVar[tuple[int, int]] = ContextVar("share", default=(0, 1))
"""Which of how many equal shares of a meta-batch the tasks are that a program is built for."""


@contextmanager
def of_share(index: int, count: int) -> Iterator[None]:
    """Let the tasks of what is built within be share ``index`` of ``count`` of a meta-batch."""
    token = _share.set((index, count))
    try:
        yield
    finally:
        _share.reset(token)


def by_task(draw: Callable[[int], Structure], tasks: int, axis: int = 0) -> Structure:
    """Return what is drawn for tasks: for a share of a meta-batch its part of the whole draw.

    So a task has the same noise whichever process works on it.

    Args:
        draw: draws for a number of tasks.
        tasks: T, those at hand.
        axis: that of the tasks in what is drawn.
    """
    index, count = _share.get()
    if count == 1:
        return draw(tasks)
    places = tf.range(index * tasks, (index + 1) * tasks)
    return tf.nest.map_structure(lambda leaf: tf.gather(leaf, places, axis=axis), draw(count * tasks))


def split_seed(seed: Seed, count: int) -> list[tf.Tensor]:
    """Return ``count`` seeds, each for an independent stream; more streams leave the first ones as they are.

    Args:
        seed: two integers.
        count: at least 1.
    """
    return tf.unstack(seeds(seed, count))


def seeds(seed: Seed, count: int) -> tf.Tensor:
    """Return :func:`split_seed` as one tensor, ``[count, 2]``: ``tf.random.experimental.stateless_split``.

    Args:
        seed: two integers.
        count: at least 1.
    """
    return integers([count, 2], seed, tf.int32)


def fold_in(seed: Seed, *numbers: int | tf.Tensor) -> tf.Tensor:
    """Return the seed of the stream that a sequence of integers names.

    ``fold_in(seed, a, b)`` is ``fold_in(fold_in(seed, a), b)``, and differs from ``fold_in(seed, b, a)``.

    Args:
        seed: two integers, ``[2]``.
        *numbers: integers of 32 bits: a constant of the module, an iteration, the index of a leaf.

    Returns:
        A seed, int32 ``[2]``.
    """
    folded = tf.cast(seed, tf.int32)
    for number in numbers:
        folded = tf.stack([integers([], folded, tf.int32), tf.cast(number, tf.int32)])
    return folded


def integers(shape: Shape, seed: Seed, dtype: tf.DType) -> tf.Tensor:
    """Draw from all integers of a type, as ``tf.random.stateless_uniform(..., alg="philox")`` does.

    The seed is the counter of a first draw, whose numbers are key and counter of the second.

    Args:
        shape: of what is drawn.
        seed: two integers, ``[2]``.
        dtype: an integer type of 32 or 64 bits.
    """
    draw = functools.partial(tf.raw_ops.StatelessRandomUniformFullIntV2, alg=PHILOX)
    mixed = draw(shape=[2], key=[SCRAMBLING_KEY], counter=tf.cast(seed, tf.uint64), dtype=tf.uint64)
    key, counter = tf.split(mixed, 2)
    return draw(shape=shape, key=key, counter=tf.pad(counter, [[1, 0]]), dtype=dtype)


def uniform(
    shape: Shape, seed: Seed, dtype: tf.DType = tf.float32, low: float = 0.0, high: float = 1.0
) -> tf.Tensor:
    """Draw from ``U[low, high)``: ``low + (high - low) i / 2^b`` for a uniform integer i.

    b is 53 for float64 and 24 for other types. Eager execution, graphs and XLA give equal bits.

    Args:
        shape: of what is drawn.
        seed: two integers, ``[2]``.
        dtype: a floating type.
        low: lower end, a Python number.
        high: upper end, a Python number of at least ``low``; rounding may return it.

    Raises:
        ValueError: if ``dtype`` is not a floating type or the range is not one.
    """
    _require_floating(dtype)
    if dtype == tf.float64:
        return _scaled(_double_fractions(shape, seed), (low, high))
    return tf.cast(sample_uniform(shape, seed, (low, high)), dtype)


def normal(
    shape: Shape,
    seed: Seed,
    dtype: tf.DType = tf.float32,
    mean: float | tf.Tensor = 0.0,
    deviation: float | tf.Tensor = 1.0,
) -> tf.Tensor:
    """Draw from ``N(mean, deviation^2)`` by the transform of Box and Muller from two uniform numbers each.

    ::

        mean + deviation sqrt(-2 log(1 - u)) cos(2 pi v)

    The transform is computed in float64 and rounded to ``dtype``, to types smaller than float32 by way of
    that, as TensorFlow's kernels do and XLA does not. Logarithm and cosine differ in the last
    bits between TensorFlow's kernels and XLA; rounding to float32 drops those, so that the results are
    equal but for about one number in 10^8, which differs by one unit in the last place. In float64 all
    agree to 2e-14 deviations.

    As u is below 1 by at least 2^-24 (2^-53 in float64), nothing is further from the mean than 5.8 (8.6)
    deviations.

    Args:
        shape: of what is drawn.
        seed: two integers, ``[2]``.
        dtype: a floating type.
        mean: of the numbers; broadcasts against ``shape``.
        deviation: standard deviation, at least 0; broadcasts against ``shape``.

    Raises:
        ValueError: if ``dtype`` is not a floating type.

    Reference: Box and Muller (1958), "A Note on the Generation of Random Normal Deviates".
    """
    _require_floating(dtype)
    both = [2, *shape]
    if dtype == tf.float64:
        fractions = _double_fractions(both, seed)
    else:
        fractions = tf.cast(sample_uniform(both, seed, (0.0, 1.0)), tf.float64)
    radial, angular = tf.unstack(fractions)
    standard = tf.sqrt(-2.0 * tf.math.log1p(-radial)) * tf.cos(2 * math.pi * angular)
    drawn = as_type(mean, tf.float64) + as_type(deviation, tf.float64) * standard
    # TensorFlow casts float64 to float16 by way of float32, which rounds twice, and XLA at once.
    return drawn if dtype == tf.float64 else tf.cast(tf.cast(drawn, tf.float32), dtype)


def rademacher(shape: Shape, seed: Seed, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Draw -1 and 1, each with probability one half.

    Args:
        shape: of what is drawn.
        seed: two integers, ``[2]``.
        dtype: a floating type.

    Raises:
        ValueError: if ``dtype`` is not a floating type.
    """
    _require_floating(dtype)
    drawn = integers(shape, seed, tf.uint32)
    top = tf.bitwise.right_shift(drawn, tf.constant(31, tf.uint32))
    return tf.cast(2 * tf.cast(top, tf.int32) - 1, dtype)


def sample_uniform(shape: Shape, seed: Seed, bounds: Range) -> tf.Tensor:
    """Draw from ``U[low, high)``: :func:`uniform` in float32, as the task families call it.

    Args:
        shape: of what is drawn.
        seed: two integers, ``[2]``.
        bounds: low and high, Python numbers.

    Raises:
        ValueError: if the range is not one.
    """
    drawn = integers(shape, seed, tf.uint32)
    leading = tf.bitwise.right_shift(drawn, tf.constant(32 - BITS, tf.uint32))
    return _scaled(tf.cast(leading, tf.float32) * 2.0**-BITS, bounds)


def sample_normal(
    shape: Shape, seed: Seed, mean: float | tf.Tensor = 0.0, deviation: float | tf.Tensor = 1.0
) -> tf.Tensor:
    """Draw from ``N(mean, deviation^2)``: :func:`normal` in float32, as the task families call it.

    Args:
        shape: of what is drawn.
        seed: two integers, ``[2]``.
        mean: of every number.
        deviation: standard deviation, at least 0.
    """
    return normal(shape, seed, mean=mean, deviation=deviation)


def _double_fractions(shape: Shape, seed: Seed) -> tf.Tensor:
    """Draw float64 multiples of ``2^-53`` in ``[0, 1)``."""
    drawn = integers(shape, seed, tf.uint64)
    leading = tf.bitwise.right_shift(drawn, tf.constant(64 - DOUBLE_BITS, tf.uint64))
    return tf.cast(leading, tf.float64) * 2.0**-DOUBLE_BITS


def _scaled(fractions: tf.Tensor, bounds: Range) -> tf.Tensor:
    """Map numbers of ``[0, 1)`` to ``[low, high)``."""
    require_range("the range of a uniform draw", bounds)
    low, high = bounds
    if (low, high) == (0.0, 1.0):
        return fractions
    width = as_type(high - low, fractions.dtype)
    # The minimum changes nothing. Without it XLA fuses product and sum, which rounds once instead of twice.
    return low + tf.minimum(width * fractions, width)


def _require_floating(dtype: tf.DType) -> None:
    """Raise ValueError unless ``dtype`` is a floating type."""
    if not tf.as_dtype(dtype).is_floating:
        raise ValueError(
            f"dtype must be a floating type such as tf.float32, got {tf.as_dtype(dtype).name}: draw in "
            "float32 and cast the result"
        )

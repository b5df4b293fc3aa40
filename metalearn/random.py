"""Random numbers as pure functions of a seed, equal in eager execution, in a graph and under XLA.

TensorFlow's kernels and XLA generate the same Philox bits from a seed, but convert them to different floats.
Therefore this module generates integers with TensorFlow and converts them by operations that round equally.

The integers are those of ``tf.random`` with ``alg="philox"``. The functions of ``tf.random`` scramble a seed
by about forty operations a call, which take longer than the generator itself; here a few operations suffice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import tensorflow as tf

from metalearn.checks import require_range
from metalearn.elementary import cos_of_turns, log
from metalearn.nest import as_type
from metalearn.types import Seed, Structure

Range = tuple[float, float]

Shape: TypeAlias = "Sequence[int] | tf.TensorShape"

BITS = 24
"""Bits of a float32's significand."""

DOUBLE_BITS = 53
"""Bits of a float64's significand."""

PHILOX = 1
"""The number of the Philox generator in TensorFlow's operations."""

SCRAMBLING_KEY = 0x02461E293EC8F720
"""The key with which TensorFlow scrambles seeds (``stateless_random_ops.cc``)."""

_share: ContextVar[tuple[int, int, int]] = ContextVar("share", default=(0, 1, 1))
"""Index and number of the equal shares of a meta-batch, and meta-batches, for the program being built."""


@contextmanager
def of_share(index: int, count: int, batches: int = 1) -> Iterator[None]:
    """Within the context, build programs for share ``index`` of ``count`` equal shares of a meta-batch.

    Draws have the shares of ``batches`` meta-batches, one after the other.
    """
    token = _share.set((index, count, batches))
    try:
        yield
    finally:
        _share.reset(token)


def by_task(draw: Callable[[int], Structure], tasks: int, axis: int = 0) -> Structure:
    """Return random numbers for tasks; for a share of a meta-batch, its part of the complete draw.

    Therefore the noise of a task does not depend on the process that computes it.

    Args:
        draw: ``T -> nest``, which draws for T tasks.
        tasks: T, the number of tasks of this process.
        axis: the axis of tasks in the result of ``draw``.
    """
    index, count, batches = _share.get()
    if count == 1:
        return draw(tasks)
    places = tf.reshape(tf.reshape(tf.range(count * tasks), [batches, count, -1])[:, index], [-1])
    return tf.nest.map_structure(lambda leaf: tf.gather(leaf, places, axis=axis), draw(count * tasks))


def split_seed(seed: Seed, count: int) -> list[tf.Tensor]:
    """Return ``count`` seeds of independent streams; the first seeds do not depend on ``count``.

    Args:
        seed: two integers.
        count: at least 1.
    """
    return tf.unstack(seeds(seed, count))


def seeds(seed: Seed, count: int) -> tf.Tensor:
    """Return the seeds of :func:`split_seed` as one tensor ``[count, 2]``.

    They are those of ``tf.random.experimental.stateless_split``.

    Args:
        seed: two integers.
        count: at least 1.
    """
    return integers([count, 2], seed, tf.int32)


def fold_in(seed: Seed, *numbers: int | tf.Tensor) -> tf.Tensor:
    """Return the seed of the stream that is identified by a sequence of integers.

    ``fold_in(seed, a, b)`` equals ``fold_in(fold_in(seed, a), b)`` and differs from ``fold_in(seed, b, a)``.

    Args:
        seed: two integers, ``[2]``.
        *numbers: 32-bit integers, such as a constant of the module, an iteration or the index of a leaf.

    Returns:
        A seed, int32 ``[2]``.
    """
    folded = tf.cast(seed, tf.int32)
    for number in numbers:
        folded = tf.stack([integers([], folded, tf.int32), tf.cast(number, tf.int32)])
    return folded


def integers(shape: Shape, seed: Seed, dtype: tf.DType) -> tf.Tensor:
    """Draw uniformly from all integers of a type, as ``tf.random.stateless_uniform(..., alg="philox")`` does.

    The seed is the counter of a first call of the generator, whose results are key and counter of the second.

    Args:
        shape: of the result.
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

    b is 53 for float64 and 24 for other types. Eager execution, graphs and XLA return the same bits.

    Args:
        shape: of the result.
        seed: two integers, ``[2]``.
        dtype: a floating type.
        low: lower end, a Python number.
        high: upper end, a Python number of at least ``low``; a result may be rounded to it.

    Raises:
        ValueError: if ``dtype`` is not a floating type or the range is invalid.

    >>> uniform([2], (0, 7)).numpy().tolist() == uniform([2], (0, 7)).numpy().tolist()
    True
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
    """Draw from ``N(mean, deviation^2)`` by the Box-Muller transform, two uniform numbers for each result.

    ::

        mean + deviation sqrt(-2 log(1 - u)) cos(2 pi v)

    The transform is computed in float64 and rounded to ``dtype``; results of types smaller than float32 are
    first rounded to float32, as TensorFlow's kernels do. XLA fuses products and sums of logarithm and cosine,
    which changes their last bits. Rounding to float32 removes this difference, except that about one number
    in 10^8 differs by one unit in the last place. In float64 the results agree to 2e-14 standard deviations.

    Since u is at most ``1 - 2^-24`` (``1 - 2^-53`` in float64), no result is further from the mean than 5.8
    (8.6) standard deviations.

    Args:
        shape: of the result.
        seed: two integers, ``[2]``.
        dtype: a floating type.
        mean: broadcast against ``shape``.
        deviation: standard deviation, at least 0; broadcast against ``shape``.

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
    standard = tf.sqrt(-2.0 * log(1.0 - radial)) * cos_of_turns(angular)
    drawn = as_type(mean, tf.float64) + as_type(deviation, tf.float64) * standard
    # From float64 to float16, TensorFlow rounds twice, through float32, and XLA once.
    return drawn if dtype == tf.float64 else tf.cast(tf.cast(drawn, tf.float32), dtype)


def rademacher(shape: Shape, seed: Seed, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Draw -1 and 1, each with probability 1/2.

    Args:
        shape: of the result.
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
    """Draw from ``U[low, high)`` in float32, as :func:`uniform` does; for task distributions.

    Args:
        shape: of the result.
        seed: two integers, ``[2]``.
        bounds: low and high, Python numbers.

    Raises:
        ValueError: if the range is invalid.
    """
    drawn = integers(shape, seed, tf.uint32)
    leading = tf.bitwise.right_shift(drawn, tf.constant(32 - BITS, tf.uint32))
    return _scaled(tf.cast(leading, tf.float32) * 2.0**-BITS, bounds)


def sample_normal(
    shape: Shape, seed: Seed, mean: float | tf.Tensor = 0.0, deviation: float | tf.Tensor = 1.0
) -> tf.Tensor:
    """Draw from ``N(mean, deviation^2)`` in float32, as :func:`normal` does; for task distributions.

    Args:
        shape: of the result.
        seed: two integers, ``[2]``.
        mean: broadcast against ``shape``.
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
    # The minimum does not change the value. Without it, XLA fuses product and sum, which rounds once, not
    # twice.
    return low + tf.minimum(width * fractions, width)


def _require_floating(dtype: tf.DType) -> None:
    """Raise ValueError unless ``dtype`` is a floating type."""
    if not tf.as_dtype(dtype).is_floating:
        raise ValueError(
            f"dtype must be a floating type such as tf.float32, got {tf.as_dtype(dtype).name}: draw in "
            "float32 and cast the result"
        )

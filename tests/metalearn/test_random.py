"""Random numbers: their distribution, and the same bits everywhere."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import tensorflow as tf

from metalearn.random import (
    fold_in,
    integers,
    normal,
    rademacher,
    sample_normal,
    sample_uniform,
    split_seed,
    uniform,
)

SEED = tf.constant([5, 6])

DTYPES = pytest.mark.parametrize("dtype", [tf.float32, tf.float64])


def assert_mean(values, expected):
    """Check the mean of independent numbers, within four standard errors."""
    values = np.asarray(values, np.float64).ravel()
    error = values.std(ddof=1) / math.sqrt(values.size)
    assert abs(values.mean() - expected) < 4 * error, (values.mean(), expected, error)


@DTYPES
def test_uniform_numbers_fill_their_range_evenly(dtype):
    """Mean, variance and the frequency of each tenth of [-1, 3) are within 4 standard errors."""
    values = uniform([200_000], SEED, dtype, -1.0, 3.0).numpy()
    assert values.dtype == dtype
    assert -1 <= values.min() < -0.999
    assert 2.999 < values.max() < 3
    assert_mean(values, 1.0)
    assert_mean(np.square(values - 1.0), 16 / 12)
    for tenth in range(10):
        assert_mean((values >= -1 + 0.4 * tenth) & (values < -0.6 + 0.4 * tenth), 0.1)


@pytest.mark.parametrize("seed", [(0, 0), (5, 6), (-5, 7), (2**31 - 1, -(2**31)), (1234, -1)])
def test_integers_are_those_of_tensorflow(seed, in_graph, with_xla):
    """Integers and derived seeds equal TensorFlow's, eagerly, in graphs and under XLA."""
    philox = {"alg": "philox"}
    seed = tf.constant(seed)
    expected = [
        tf.random.stateless_uniform([5], seed, None, None, tf.uint32, **philox),
        tf.random.stateless_uniform([2, 3], seed, None, None, tf.uint64, **philox),
        tf.random.experimental.stateless_split(seed, 4, **philox),
        tf.random.experimental.stateless_fold_in(seed, 9, **philox),
    ]

    def draw(seed):
        drawn = [integers([5], seed, tf.uint32), integers([2, 3], seed, tf.uint64)]
        return [*drawn, tf.stack(split_seed(seed, 4)), fold_in(seed, 9)]

    for way in (draw, in_graph(draw), with_xla(draw)):
        for found, right in zip(way(seed), expected, strict=True):
            assert found.dtype == right.dtype
            np.testing.assert_array_equal(found, right)


def test_the_bits_of_the_task_families_stay():
    """The first numbers equal a formula in NumPy, so that training tasks never change."""
    found = sample_uniform([3], SEED, (-5.0, 5.0)).numpy()
    integers = tf.random.stateless_uniform([3], SEED, None, None, tf.uint32, alg="philox").numpy() >> 8
    fractions = integers.astype(np.float32) * np.float32(2.0**-24)
    np.testing.assert_array_equal(found, np.float32(-5) + np.float32(10) * fractions)
    np.testing.assert_array_equal(found, uniform([3], SEED, low=-5.0, high=5.0))
    np.testing.assert_array_equal(sample_uniform([3], SEED, (0.0, 1.0)), fractions)
    radial, angular = np.split(np.asarray(uniform([2, 4], SEED), np.float64), 2)
    by_hand = np.sqrt(-2 * np.log1p(-radial)) * np.cos(2 * np.pi * angular)
    np.testing.assert_array_equal(sample_normal([4], SEED), by_hand[0].astype(np.float32))


@DTYPES
def test_normal_numbers_have_the_moments_and_quantiles_of_a_normal_distribution(dtype):
    """Moments and the frequencies below nine quantiles of N(2, 9) are within 4 standard errors."""
    values = normal([400_000], SEED, dtype, 2.0, 3.0).numpy()
    assert values.dtype == dtype
    standard = (values.astype(np.float64) - 2) / 3
    for power, moment in enumerate((0, 1, 0, 3), start=1):
        assert_mean(standard**power, moment)
    for level in (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999):
        assert_mean(standard < NormalDist().inv_cdf(level), level)
    assert np.abs(standard).max() < math.sqrt(2 * (24 if dtype == tf.float32 else 53) * math.log(2))
    assert abs(np.corrcoef(standard[:-1], standard[1:])[0, 1]) < 4 / math.sqrt(standard.size)


def test_no_deviation_leaves_the_mean_and_both_broadcast():
    np.testing.assert_array_equal(normal([2, 3], SEED, mean=7.0, deviation=0.0), np.full((2, 3), 7.0))
    scales = tf.constant([[1.0], [10.0]])
    standard = normal([2, 3], SEED, tf.float64).numpy()
    found = normal([2, 3], SEED, tf.float64, 1.0, scales)
    np.testing.assert_allclose(found, 1 + scales.numpy() * standard, rtol=1e-15)


def test_signs_are_even():
    signs = rademacher([100_000], SEED, tf.float64).numpy()
    np.testing.assert_array_equal(np.unique(signs), [-1, 1])
    assert_mean(signs, 0.0)
    assert_mean(signs[1:] * signs[:-1], 0.0)


@pytest.mark.parametrize("jit", [False, True])
def test_equal_bits_in_eager_execution_graph_and_xla(jit):
    """100 000 numbers of each kind have equal bits, on ranges for which XLA would fuse operations."""

    def draws(seed):
        shape = [100_000]
        return {
            "uniform": [
                uniform(shape, seed, low=low, high=high) for low, high in ((0, 1), (-5, 5), (0.1, 5))
            ],
            "double": [uniform(shape, seed, tf.float64, low, high) for low, high in ((0, 1), (-3, 0.7))],
            "normal": [normal(shape, seed), normal(shape, seed, mean=1.5, deviation=0.3)],
            "half": normal(shape, seed, tf.float16),
            "signs": rademacher(shape, seed),
            "seeds": [split_seed(seed, 3), fold_in(seed, 4, -1), fold_in(seed, seed[0])],
        }

    compiled = tf.function(draws, jit_compile=jit, autograph=False)(SEED)
    tf.nest.map_structure(np.testing.assert_array_equal, compiled, draws(SEED))


@pytest.mark.parametrize("jit", [False, True])
def test_float64_normal_numbers_agree_to_rounding(jit):
    compiled = tf.function(lambda seed: normal([10_000], seed, tf.float64), jit_compile=jit, autograph=False)
    np.testing.assert_allclose(compiled(SEED), normal([10_000], SEED, tf.float64), rtol=0, atol=2e-14)


def test_float64_has_its_own_resolution():
    """Of 1000 numbers none is a multiple of 2^-24, and all are different."""
    values = uniform([1000], SEED, tf.float64).numpy()
    assert (np.mod(values * 2**24, 1) != 0).all()
    assert np.unique(values).size == 1000


def test_more_streams_leave_the_first_ones_as_they_are():
    """All seeds differ, and the first two of seven are those of two."""
    few, many = (np.array(split_seed((3, 9), count)) for count in (2, 7))
    np.testing.assert_array_equal(many[:2], few)
    assert len(np.unique(many, axis=0)) == 7


def test_folded_seeds_name_streams():
    """Seeds depend on order and number of the folded integers, and can be folded one after the other."""
    named = [(), (0,), (1,), (0, 1), (1, 0), (0, 0), (-1,)]
    seeds = np.stack([fold_in((3, 9), *numbers) for numbers in named])
    assert len(np.unique(seeds, axis=0)) == len(named)
    np.testing.assert_array_equal(fold_in((3, 9), 0, 1), fold_in(fold_in(tf.constant([3, 9]), 0), 1))
    assert fold_in((3, 9), tf.constant(2, tf.int64)).dtype == tf.int32


@pytest.mark.parametrize("draw", [uniform, normal, rademacher])
def test_types_that_are_not_floating_are_refused(draw):
    with pytest.raises(ValueError, match=r"dtype must be a floating type such as tf\.float32, got int32"):
        draw([2], SEED, tf.int32)


def test_a_range_the_wrong_way_round_is_refused():
    with pytest.raises(ValueError, match="the range of a uniform draw is the wrong way round"):
        uniform([2], SEED, low=1.0, high=0.0)

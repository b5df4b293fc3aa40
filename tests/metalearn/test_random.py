"""Random numbers: their distribution, and the same bits everywhere."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import tensorflow as tf

from metalearn.random import sample_normal, sample_uniform, split_seed

SEED = tf.constant([5, 6])


def test_uniform_numbers_fill_their_range_evenly(assert_mean):
    """Mean, variance and the share of each tenth of [-1, 3)."""
    values = sample_uniform([200_000], SEED, (-1.0, 3.0)).numpy()
    assert values.dtype == np.float32
    assert -1 <= values.min() < -0.999
    assert 2.999 < values.max() < 3
    assert_mean(values, 1.0)
    assert_mean(np.square(values - 1.0), 16 / 12)
    for tenth in range(10):
        assert_mean((values >= -1 + 0.4 * tenth) & (values < -0.6 + 0.4 * tenth), 0.1)


def test_normal_numbers_have_the_moments_and_quantiles_of_a_normal_distribution(assert_mean):
    """Moments 0, 1, 0, 3 and the shares below nine quantiles, of N(2, 9)."""
    values = sample_normal([400_000], SEED, 2.0, 3.0).numpy()
    assert values.dtype == np.float32
    standard = (values.astype(np.float64) - 2) / 3
    for power, moment in enumerate((0, 1, 0, 3), start=1):
        assert_mean(standard**power, moment)
    for level in (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999):
        assert_mean(standard < NormalDist().inv_cdf(level), level)
    assert np.abs(standard).max() < math.sqrt(48 * math.log(2))
    assert abs(np.corrcoef(standard[:-1], standard[1:])[0, 1]) < 4 / math.sqrt(standard.size)


def test_no_deviation_leaves_the_mean():
    np.testing.assert_array_equal(sample_normal([2, 3], SEED, 7.0, 0.0), np.full((2, 3), 7, np.float32))


@pytest.mark.parametrize("jit", [False, True])
def test_normal_numbers_are_the_same_compiled(jit):
    """From the same bits to 5e-6: logarithm and cosine round otherwise, by a few units, under XLA."""
    compiled = tf.function(lambda seed: sample_normal([10_000], seed), jit_compile=jit, autograph=False)
    np.testing.assert_allclose(compiled(SEED), sample_normal([10_000], SEED), rtol=0, atol=5e-6)


def test_more_streams_leave_the_first_ones_as_they_are():
    """All differ, and two of seven are the two of two: a stream may be added without changing the others."""
    few, many = (np.array(split_seed((3, 9), count)) for count in (2, 7))
    np.testing.assert_array_equal(many[:2], few)
    assert len(np.unique(many, axis=0)) == 7

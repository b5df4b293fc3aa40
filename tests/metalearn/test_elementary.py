"""Logarithm and cosine by series, compared with NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn import elementary


@pytest.mark.parametrize("compiled", [False, True])
def test_log(compiled):
    """Equal to NumPy's to 4e-16 of the value and 1e-16, from 2^-53 to 1e300 and next to 1 and sqrt(1/2)."""
    around = 1 + np.arange(-20, 21) * 2.0**-53
    x = np.concatenate([np.geomspace(2.0**-53, 1e300, 10001), around, np.sqrt(0.5) * around])
    found = tf.function(elementary.log, jit_compile=compiled)(tf.constant(x))
    np.testing.assert_allclose(found, np.log(x), rtol=4e-16, atol=1e-16)


@pytest.mark.parametrize("compiled", [False, True])
def test_cos_of_turns(compiled):
    """Equal to NumPy's cosine to 2e-15, whose argument ``2 pi v`` is rounded itself."""
    v = np.linspace(0, 1, 10001)
    found = tf.function(elementary.cos_of_turns, jit_compile=compiled)(tf.constant(v))
    np.testing.assert_allclose(found, np.cos(2 * np.pi * v), rtol=0, atol=2e-15)

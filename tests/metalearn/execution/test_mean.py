"""The mean over tasks: that of NumPy, for leaves small and large."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn.execution.mean import LARGEST, mean_over_tasks


@pytest.mark.parametrize("tasks", [1, 7])
@pytest.mark.parametrize("shape", [(), (3,), (5, 4), (LARGEST + 1,)])
def test_it_is_the_mean(tasks, shape):
    leaf = np.random.default_rng(0).normal(size=(tasks, *shape))
    found = mean_over_tasks({"a": tf.constant(leaf)})["a"]
    assert found.shape == shape
    np.testing.assert_allclose(found, leaf.mean(0), rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_so(value):
    leaf = np.zeros((4, 3), np.float32)
    leaf[2, 1] = value
    np.testing.assert_array_equal(np.isfinite(mean_over_tasks(tf.constant(leaf))), [True, False, True])

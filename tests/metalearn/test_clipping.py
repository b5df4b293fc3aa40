"""Per-task clipping, against NumPy and by its properties."""

import numpy as np
import tensorflow as tf

from metalearn.clipping import mean_of_clipped

GRADIENTS = {"a": np.array([[3.0, -4.0], [0.3, 0.4], [0.0, 0.0]]), "b": np.array([12.0, 0.0, 0.0])}


def clipped(**limits):
    return {
        key: leaf.numpy()
        for key, leaf in mean_of_clipped(tf.nest.map_structure(tf.constant, GRADIENTS), **limits).items()
    }


def test_without_limits_it_is_the_mean():
    for key, leaf in clipped().items():
        np.testing.assert_allclose(leaf, GRADIENTS[key].mean(0), rtol=1e-15)


def test_entries_are_clipped_task_by_task():
    for key, leaf in clipped(value=0.35).items():
        np.testing.assert_allclose(leaf, np.clip(GRADIENTS[key], -0.35, 0.35).mean(0), rtol=1e-15)


def test_lengths_are_over_all_leaves():
    """The first task's length is sqrt(9 + 16 + 144) = 13, the others' are below the limit, one of them 0."""
    scale = np.array([6.5 / 13, 1, 1])
    found = clipped(norm=6.5)
    np.testing.assert_allclose(found["a"], (GRADIENTS["a"] * scale[:, None]).mean(0), rtol=1e-15)
    np.testing.assert_allclose(found["b"], (GRADIENTS["b"] * scale).mean(0), rtol=1e-15)


def test_what_is_not_finite_stays_so():
    """So that a run stops at it."""
    for bad in (np.nan, np.inf):
        for limits in ({}, {"norm": 1.0}, {"value": 1.0}):
            assert not np.isfinite(mean_of_clipped({"a": tf.constant([[bad], [1.0]])}, **limits)["a"]).any()

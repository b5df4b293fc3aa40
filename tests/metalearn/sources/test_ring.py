"""The mixture of Gaussians on a circle."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.sources.ring import coverage


def test_ring():
    """Points have the given deviation from the modes; coverage counts modes and nearby points."""
    ring = ml.tasks.Ring(examples=4000, noise_size=3)
    task = ring.sample((0, 0), 1)
    assert task.support["noise"].shape == (1, 4000, 3)
    points = task.query["real"][0].numpy()
    nearest = ring.means[np.linalg.norm(points[:, None] - ring.means, axis=-1).argmin(1)]
    np.testing.assert_allclose(np.std(points - nearest), 0.02, rtol=0.05)
    assert coverage(tf.constant(points), tf.constant(ring.means, tf.float32)) == (8, 1.0)
    halves = np.concatenate([np.tile(ring.means[:3], (50, 1)), np.zeros((150, 2))])
    assert coverage(tf.constant(halves), tf.constant(ring.means)) == (3, 0.5)
    assert not np.allclose(task.support["real"], task.query["real"])


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="gaussians must be an integer of at least 1"):
        ml.tasks.Ring(gaussians=0)
    with pytest.raises(ValueError, match="deviation must be a finite number above 0"):
        ml.tasks.Ring(deviation=0.0)

"""Per-task clipping, against NumPy and by its properties; and in training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.training import blocks
from metalearn.training.combine import mean_of_clipped
from tests.often import mostly_slow

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
    """The norm of a task includes all leaves; norms below the limit, also 0, are unchanged.

    The first task's norm is sqrt(9 + 16 + 144) = 13.
    """
    scale = np.array([6.5 / 13, 1, 1])
    found = clipped(norm=6.5)
    np.testing.assert_allclose(found["a"], (GRADIENTS["a"] * scale[:, None]).mean(0), rtol=1e-15)
    np.testing.assert_allclose(found["b"], (GRADIENTS["b"] * scale).mean(0), rtol=1e-15)


def test_what_is_not_finite_stays_so():
    """A non-finite gradient is not finite after clipping, so that the run stops."""
    for bad in (np.nan, np.inf):
        for limits in ({}, {"norm": 1.0}, {"value": 1.0}):
            assert not np.isfinite(mean_of_clipped({"a": tf.constant([[bad], [1.0]])}, **limits)["a"]).any()


def trainer(**limits):
    """Return a trainer of a small model by plain descent at the rate 0.05, not compiled with XLA."""
    learner = ml.MetaLearner(ml.models.mlp(hidden=(4,)), ml.losses.mse, ml.rules.sgd(0.1))
    optimizer = keras.optimizers.SGD(0.05)
    limits |= {"jit_compile": False, "check_derivatives": False}
    return ml.MetaTrainer(learner, ml.tasks.Sinusoid(), optimizer, 10, 3, **limits)


@pytest.mark.parametrize("limit", mostly_slow(["value", "norm"], "norm"))
def test_training_clips_every_task(monkeypatch, limit):
    """The update is the mean of the tasks' clipped meta-gradients, as in NumPy, to 1e-7."""
    monkeypatch.setattr(blocks, "BLOCK_ITERATIONS", 1)
    training = trainer(**{f"clip_task_{limit}": 0.1})
    before = training.meta
    tasks = training.tasks.sample((3, 0), 10)
    per_task = [
        leaf.numpy() for leaf in tf.nest.flatten(training.learner.meta_gradient(before, tasks).per_task)
    ]
    if limit == "value":
        expected = [np.clip(leaf, -0.1, 0.1) for leaf in per_task]
    else:
        flat = np.concatenate([leaf.reshape(10, -1) for leaf in per_task], axis=1)
        factors = np.minimum(1, 0.1 / np.linalg.norm(flat, axis=1))
        expected = [leaf * factors.reshape(-1, *[1] * (leaf.ndim - 1)) for leaf in per_task]
    training.run(1)
    for old, new, step in zip(*map(tf.nest.flatten, (before, training.meta)), expected, strict=True):
        np.testing.assert_allclose(new - old, -0.05 * step.mean(0), rtol=0, atol=1e-7)
        assert np.abs(step).max() > 0


@pytest.mark.parametrize("limit", ["value", "norm"])
def test_limits_are_positive(limit):
    with pytest.raises(ValueError, match=f"clip_task_{limit}"):
        trainer(**{f"clip_task_{limit}": 0.0})

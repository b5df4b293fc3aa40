"""Losses against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


def test_mse_is_the_mean_over_examples_and_components():
    """``mean((o - t)^2)``, and its gradient with respect to the outputs is ``2 (o - t) / (N D)``."""
    targets, outputs = np.random.default_rng(0).normal(size=(2, 5, 3))
    value, gradient = ml.derivatives.value_and_gradient(
        lambda outputs: ml.losses.mse(tf.constant(targets), outputs), tf.constant(outputs)
    )
    np.testing.assert_allclose(value, ((outputs - targets) ** 2).mean(), rtol=1e-14)
    np.testing.assert_allclose(gradient, 2 * (outputs - targets) / 15, rtol=1e-14)


@pytest.mark.parametrize(("targets", "outputs"), [((4,), (4, 1)), ((4, 1), (1, 1)), ((4, 2), (4, 1))])
def test_mse_does_not_broadcast(targets, outputs):
    """Shapes that NumPy would broadcast are refused, and both are named."""
    with pytest.raises(ValueError, match="no broadcasting") as error:
        ml.losses.mse(tf.zeros(targets), tf.zeros(outputs))
    assert str(targets) in str(error.value)
    assert str(outputs) in str(error.value)

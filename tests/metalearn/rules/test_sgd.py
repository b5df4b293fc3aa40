"""Gradient descent as a rule."""

import math

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


def structures():
    """Return parameters and gradients of two variables."""
    parameters = {"a": tf.constant([1.0, -2.0], tf.float64), "b": tf.constant(3.0, tf.float64)}
    gradients = {"a": tf.constant([0.5, 4.0], tf.float64), "b": tf.constant(-1.0, tf.float64)}
    return parameters, gradients


@pytest.mark.parametrize("step", [0, 3])
def test_update_is_a_step_down_the_gradient(step):
    """The update is ``theta - rate g`` in every step, without state and learned values."""
    parameters, gradients = structures()
    rule = ml.rules.sgd(0.1)
    state, hyperparameters = rule.init(parameters), rule.learnable(parameters)
    assert tf.nest.flatten((state, hyperparameters)) == []
    moved, after = rule.update(gradients, state, parameters, hyperparameters, step)
    assert list(moved) == ["a", "b"]
    np.testing.assert_allclose(moved["a"], [0.95, -2.4], rtol=1e-15)
    np.testing.assert_allclose(moved["b"], 3.1, rtol=1e-15)
    assert tf.nest.flatten(after) == []


@pytest.mark.parametrize("rate", [0, -0.1, math.nan, math.inf, True, "0.1"])
def test_bad_rates_are_refused(rate):
    """A rate must be positive and finite; the message names it and its value."""
    with pytest.raises(ValueError, match="learning_rate") as error:
        ml.rules.sgd(rate)
    assert repr(rate) in str(error.value)

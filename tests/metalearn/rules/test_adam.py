"""Properties of Adam that the tests of all rules do not cover."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.rules import learned

RATE, BETA_1, BETA_2, EPSILON = 0.1, 0.9, 0.999, 1e-3


@pytest.mark.parametrize("factory", [ml.rules.adam, ml.rules.adamw])
def test_slope_where_gradients_are_zero(factory):
    """The derivative of the first update at a zero gradient is ``-rate sqrt(1 - beta_2)

    epsilon``.
    """
    rule = factory(RATE, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON)

    def update(gradient):
        parameters = {"a": tf.zeros([], tf.float64)}
        return rule.update({"a": gradient}, rule.init(parameters), parameters, {}, 0)[0]["a"]

    _, slope = ml.derivatives.value_and_gradient(update, tf.constant(0.0, tf.float64))
    np.testing.assert_allclose(slope, -RATE * np.sqrt(1 - BETA_2) / EPSILON, rtol=1e-13)
    around = [float(update(tf.constant(gradient, tf.float64))) for gradient in (1e-9, -1e-9)]
    np.testing.assert_allclose((around[0] - around[1]) / 2e-9, slope, rtol=1e-6)


def test_values_are_kept_where_second_moments_are_tiny():
    """With epsilon 1e-300, gradients from 1e-150 to 1 all give an update of -rate, to 1e-13."""
    gradients = np.logspace(-150, 0, 7)
    parameters = {"a": tf.zeros([7], tf.float64)}
    rule = ml.rules.adam(RATE, epsilon=1e-300)
    moved, _ = rule.update({"a": tf.constant(gradients)}, rule.init(parameters), parameters, {}, 0)
    np.testing.assert_allclose(moved["a"], np.full(7, -RATE), rtol=1e-13)


def test_not_a_number_is_not_hidden():
    """An infinite or NaN gradient makes its parameter NaN, and does not affect others."""
    parameters = {"a": tf.zeros([3], tf.float64)}
    rule = ml.rules.adam()
    gradients = {"a": tf.constant([np.nan, np.inf, 0.0], tf.float64)}
    moved, _ = rule.update(gradients, rule.init(parameters), parameters, {}, 0)
    np.testing.assert_array_equal(np.isnan(moved["a"]), [True, True, False])


def test_decay_rates_of_zero_have_derivatives():
    """Derivatives by decay rates at 0 equal differences; ``0 ** (step + 1)`` has derivative 1, then 0."""
    rule = ml.rules.adam(RATE, beta_1=learned(0.0), beta_2=learned(0.0))
    parameters = {"a": tf.constant([1.0, 0.0], tf.float64)}
    hyperparameters = rule.learnable(parameters)

    def moved(hyperparameters):
        after, state = parameters, rule.init(parameters)
        for step in range(2):
            gradients = {"a": after["a"] * [1.0, 0.0]}
            after, state = rule.update(gradients, state, after, hyperparameters, step)
        return tf.reduce_sum(after["a"])

    _, gradient = ml.derivatives.value_and_gradient(moved, hyperparameters)
    ahead = {key: 1e-6 * tf.ones_like(value) for key, value in hyperparameters.items()}
    for key, value in gradient.items():
        change = moved({**hyperparameters, key: ahead[key]}) - moved(hyperparameters)
        np.testing.assert_allclose(value, change / 1e-6, rtol=1e-4, atol=1e-9)


def test_adamw_divides_by_the_root():
    """The first step is independent of the gradient's scale, and decays by rate times weight_decay."""
    parameters = {"a": tf.constant([2.0, 2.0], tf.float64)}
    gradients = {"a": tf.constant([1e-3, 1e3], tf.float64)}
    rule = ml.rules.adamw(RATE, weight_decay=0.5, epsilon=1e-300)
    moved, _ = rule.update(gradients, rule.init(parameters), parameters, {}, 0)
    np.testing.assert_allclose(moved["a"], [2 - RATE * 0.5 * 2 - RATE] * 2, rtol=1e-13)

"""Centred RMSprop where the mean square and the squared mean nearly cancel."""

import numpy as np
import tensorflow as tf

import metalearn as ml


def test_a_constant_gradient_has_a_small_variance_not_a_negative_one():
    """With a constant gradient g, the variance after k steps is ``g^2 rho^k (1 - rho^k)``, in float32."""
    rate, rho, epsilon, gradient = 1e-3, 0.75, 1e-7, 100.0
    rule = ml.rules.rmsprop(rate, rho, epsilon=epsilon, centered=True)
    start, gradients = {"a": tf.zeros([1])}, {"a": tf.constant([gradient])}
    state = rule.init(start)
    for k in range(1, 101):
        moved, state = rule.update(gradients, state, start, {}, k - 1)
        variance = gradient**2 * rho**k * (1 - rho**k)
        np.testing.assert_allclose(moved["a"], [-rate * gradient / np.sqrt(variance + epsilon)], rtol=1e-3)

"""NAdam against a loop in NumPy: Keras' own rounds a constant to float32, also for float64 variables."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.rules import learned


@pytest.mark.parametrize("per", [None, "scalar", "element"])
def test_equals_a_loop_in_numpy(per):
    rate, beta_1, beta_2, epsilon = 0.1, 0.9, 0.99, 1e-5
    random = np.random.default_rng(0)
    theta, gradients = random.normal(size=3), random.normal(size=(10, 3))
    rule = ml.rules.nadam(rate, learned(beta_1, per=per) if per else beta_1, beta_2, epsilon)
    parameters = {"a": tf.constant(theta)}
    state, hyperparameters = rule.init(parameters), rule.learnable(parameters)
    m, v, product = np.zeros(3), np.zeros(3), 1.0
    for k, g in enumerate(gradients, start=1):
        mu, mu_next = (beta_1 * (1 - 0.5 * 0.96**count) for count in (k, k + 1))
        product *= mu
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        ahead = mu_next * m / (1 - product * mu_next) + (1 - mu) * g / (1 - product)
        theta = theta - rate * ahead / (np.sqrt(v / (1 - beta_2**k)) + epsilon)
        parameters, state = rule.update({"a": tf.constant(g)}, state, parameters, hyperparameters, k - 1)
        np.testing.assert_allclose(parameters["a"], theta, rtol=1e-12)

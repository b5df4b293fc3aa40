"""Hypergradient descent: its steps in NumPy, and what it follows."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn import rules
from metalearn.testing import check_rule


def test_the_rate_descends_in_numpy():
    """Six steps on a quadratic with a common rate equal those in NumPy, to 1e-13."""
    random = np.random.default_rng(0)
    matrix, theta = random.normal(size=(5, 5)), random.normal(size=5)
    curvature = matrix @ matrix.T / 5
    rule, keys = rules.hypergradient(0.05, 0.01), {"a": slice(0, 3), "b": slice(3, 5)}
    parameters = {key: tf.constant(theta[part]) for key, part in keys.items()}
    state, rate, last = rule.init(parameters), 0.05, np.zeros(5)
    for step in range(6):
        gradient = curvature @ theta
        rate += 0.01 * gradient @ last
        theta, last = theta - rate * gradient, gradient
        given = {key: tf.constant(gradient[part]) for key, part in keys.items()}
        parameters, state = rule.update(given, state, parameters, {}, step)
        np.testing.assert_allclose(np.concatenate(list(parameters.values())), theta, rtol=1e-13)
    assert abs(rate - 0.05) > 0.01
    np.testing.assert_allclose(0.05 + state["change"], rate, rtol=1e-13)


def test_it_follows_the_exact_gradient_by_the_rate():
    """The rate changes by -hyper_rate times the exact derivative of the loss after a step, to 1e-12."""
    random = np.random.default_rng(1)
    center, start = (tf.constant(random.normal(size=3)) for _ in range(2))

    def loss(theta):
        return tf.reduce_sum(tf.square(theta["w"] - center) ** 2)

    problem = ml.BilevelProblem(
        start=lambda phi, task: {"w": start},
        inner_loss=lambda theta, phi, batch, model: loss(theta),
        outer_loss=lambda theta, phi, task, model: loss(theta),
        rule=rules.sgd(rules.learned(0.01)),
        steps=1,
        batch=lambda task, step: (),
    )
    phi = {"rule": {"learning_rate": tf.constant(0.01, tf.float64)}}
    exact = ml.BilevelLearner(problem, start=phi).meta_gradient(phi, ml.Task((), ()))
    rule, theta = rules.hypergradient(0.01, 0.5), {"w": start}
    state = rule.init(theta)
    for step in range(2):
        _, gradients = ml.autodiff.value_and_gradient(loss, theta)
        theta, state = rule.update(gradients, state, theta, {}, step)
    np.testing.assert_allclose(state["change"], -0.5 * exact.gradient["rule"]["learning_rate"], rtol=1e-12)


def test_conformance():
    learned = rules.hypergradient(rules.learned(0.1, per="variable", steps=2), rules.learned(0.01))
    check_rule(learned, {"kernel": tf.constant([[0.3, -0.7], [1.1, 0.4]]), "scale": tf.constant(-0.6)})


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="learning_rate must be a finite number above 0"):
        rules.hypergradient(0.0, 0.1)
    with pytest.raises(ValueError, match="hyper_rate must be a finite number of at least 0"):
        rules.hypergradient(0.1, -0.1)
    with pytest.raises(ValueError, match=r"hyper_rate=learned\(per='variable'\) has no meaning"):
        rules.hypergradient(0.1, rules.learned(0.1, per="variable"))

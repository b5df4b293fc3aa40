"""Learned penalties of linear and logistic regression: every estimator against NumPy's recursion."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

EXAMPLES, FEATURES, STEPS, RATE, WINDOW = 40, 4, 8, 0.1, 3


@pytest.fixture(scope="module")
def data():
    """Return inner examples, outer ones and the logarithms of the penalties."""
    random = np.random.default_rng(0)
    x, weights = random.normal(size=(2, EXAMPLES, FEATURES)), random.normal(size=FEATURES)
    y = x @ weights + random.normal(size=(2, EXAMPLES))
    return (x[0], y[0]), (x[1], y[1]), random.normal(size=FEATURES) * 0.5 - 1


def tasks_of(inner, outer):
    return tf.nest.map_structure(
        lambda leaf: tf.constant(leaf)[None], ml.Task(ml.Batch(*inner), ml.Batch(*outer))
    )


def quadratic(data):
    (x, y), _, log_l2 = data
    return x.T @ x / EXAMPLES + np.diag(np.exp(log_l2)), x.T @ y / EXAMPLES


def recursion(data, window=STEPS, steps=STEPS):
    """Return the outer loss and ``J_K' grad``: ``J_{k+1} = (I - a H) J_k - a diag(exp(l) w_k)``."""
    _, (x, y), log_l2 = data
    hessian, b = quadratic(data)
    w, jacobian = np.zeros(FEATURES), np.zeros((FEATURES, FEATURES))
    for step in range(steps):
        if step >= steps - window:
            jacobian = jacobian - RATE * (hessian @ jacobian + np.diag(np.exp(log_l2) * w))
        w = w - RATE * (hessian @ w - b)
    errors = x @ w - y
    return np.mean(errors**2) / 2, jacobian.T @ x.T @ errors / EXAMPLES


def closed_form(data):
    """Return ``-exp(l) w* (H^-1 grad)`` at the solution ``w* = H^-1 b``."""
    _, (x, y), log_l2 = data
    hessian, b = quadratic(data)
    w = np.linalg.solve(hessian, b)
    return -np.exp(log_l2) * w * np.linalg.solve(hessian, x.T @ (x @ w - y) / EXAMPLES)


CASES = {
    "unrolled": (ml.estimators.unrolled(), STEPS),
    "checkpointed": (ml.estimators.checkpointed(), STEPS),
    "forward_mode": (ml.estimators.forward_mode(), STEPS),
    "truncated": (ml.estimators.truncated(WINDOW), WINDOW),
}


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("unrolled", "forward_mode", "truncated")]


@pytest.mark.parametrize("name", ["checkpointed", *SLOW])
def test_exact_estimators_are_the_recursion(data, name):
    """Losses and gradients equal NumPy's recursion, to 1e-10; truncated ones that of the last steps."""
    inner, outer, log_l2 = data
    estimator, window = CASES[name]
    learner = ml.problems.ridge(FEATURES, ml.rules.sgd(RATE), STEPS, estimator)
    found = learner.meta_gradient({"log_l2": tf.constant(log_l2)}, tasks_of(inner, outer))
    loss, gradient = recursion(data, window)
    np.testing.assert_allclose(found.loss, [loss], rtol=1e-10)
    np.testing.assert_allclose(found.gradient["log_l2"], gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("steps", "least", "most"),
    [
        pytest.param(10, 1e-3, 1, marks=pytest.mark.slow),
        pytest.param(60, 1e-8, 1e-3, marks=pytest.mark.slow),
        (300, 0, 1e-10),
    ],
)
def test_implicit_ones_converge_to_the_closed_form(data, steps, least, most):
    """With more steps, the error of implicit differentiation falls from above 1e-3 to rounding."""
    inner, outer, log_l2 = data
    estimator = ml.estimators.implicit(iterations=FEATURES)
    learner = ml.problems.ridge(FEATURES, ml.rules.sgd(RATE), steps, estimator)
    found = learner.meta_gradient({"log_l2": tf.constant(log_l2)}, tasks_of(inner, outer))
    assert least <= np.abs(found.gradient["log_l2"] - closed_form(data)).max() < most


def test_logistic_regression_is_the_recursion(data):
    """Loss, accuracy and gradient equal NumPy's recursion, to 1e-10.

    It is ``J_{k+1} = (I - a (X'SX/n + L)) J_k - a L diag(w_k)`` with ``S = p (1 - p)``.
    """
    (x, y), (held_x, held_y), log_l2 = data
    y, held_y, penalty = (y > 0).astype(np.int32), (held_y > 0).astype(np.int32), np.exp(log_l2)
    w, jacobian = np.zeros(FEATURES), np.zeros((FEATURES, FEATURES))
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-x @ w))
        hessian = x.T @ (x * (p * (1 - p))[:, None]) / EXAMPLES + np.diag(penalty)
        jacobian = jacobian - RATE * (hessian @ jacobian + np.diag(penalty * w))
        w = w - RATE * (x.T @ (p - y) / EXAMPLES + penalty * w)
    p = 1 / (1 + np.exp(-held_x @ w))
    learner = ml.problems.logistic(FEATURES, ml.rules.sgd(RATE), STEPS)
    found = learner.meta_gradient({"log_l2": tf.constant(log_l2)}, tasks_of((x, y), (held_x, held_y)))
    loss = -np.mean(np.log(np.where(held_y == 1, p, 1 - p)))
    np.testing.assert_allclose(found.loss, [loss], rtol=1e-10)
    expected = jacobian.T @ held_x.T @ (p - held_y) / EXAMPLES
    np.testing.assert_allclose(found.gradient["log_l2"], expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.metrics["accuracy"], [np.mean((p > 0.5) == held_y)])


def test_classes_that_there_are_not(data):
    """A class of 2 with two classes is an error before training, and so are targets of type float."""
    (x, y), _, _ = data
    learner = ml.problems.logistic(FEATURES, ml.rules.sgd(RATE), 2)
    x, y = x.astype(np.float32), y.astype(np.float32)
    wrong = np.where(np.arange(EXAMPLES) == 3, 2, 0).astype(np.int32)
    with pytest.raises(ValueError, match="classes from 0 to 2, but there are 2, 0 to 1: relabel"):
        learner.require_fit(tasks_of((x, wrong), (x, wrong)))
    with pytest.raises(ValueError, match="cast classes to int32"):
        learner.require_fit(tasks_of((x, y), (x, y)))

"""Regression with a penalty for each feature: every estimator, and training, compared with NumPy.

theta_0 does not depend on phi here, which forward mode has to support.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from tests.often import mostly_slow

EXAMPLES, FEATURES, STEPS, RATE, OUTER_RATE, WINDOW = 60, 5, 30, 0.1, 0.5, 8


@pytest.fixture(scope="module")
def data():
    """Return training and validation data ``(x, y, x', y')``, and the logarithms of the strengths."""
    random = np.random.default_rng(0)
    inputs, weights = random.normal(size=(2, EXAMPLES, FEATURES)), random.normal(size=FEATURES)
    targets = inputs @ weights + random.normal(size=(2, EXAMPLES))
    return (inputs[0], targets[0], inputs[1], targets[1]), random.normal(size=FEATURES) * 0.5 - 2


def by_hand(data, strengths, window=STEPS):
    """Return w_K, the meta-loss and its gradient, exact through the last ``window`` steps.

    ``w_{k+1} = w_k - a (H w_k - b)`` with ``H = X'X/n + diag(exp l)``, so that
    ``dw_{k+1}/dl = (I - a H) dw_k/dl - a diag(exp(l) w_k)``. As w_0 is constant, what truncation leaves of
    the earlier steps is nothing.
    """
    x, y, held_x, held_y = data
    hessian, b = x.T @ x / EXAMPLES + np.diag(np.exp(strengths)), x.T @ y / EXAMPLES
    w, jacobian = np.zeros(FEATURES), np.zeros((FEATURES, FEATURES))
    for step in range(STEPS):
        if step >= STEPS - window:
            jacobian = jacobian - RATE * (hessian @ jacobian + np.diag(np.exp(strengths) * w))
        w = w - RATE * (hessian @ w - b)
    errors = held_x @ w - held_y
    return w, np.mean(errors**2) / 2, jacobian.T @ held_x.T @ errors / EXAMPLES


def at_the_solution(data, strengths):
    """Return the gradient at w_K by the implicit function theorem: ``-exp(l) w (H^-1 grad)``."""
    x, _, held_x, held_y = data
    w, _, _ = by_hand(data, strengths)
    hessian = x.T @ x / EXAMPLES + np.diag(np.exp(strengths))
    slope = held_x.T @ (held_x @ w - held_y) / EXAMPLES
    return -np.exp(strengths) * w * np.linalg.solve(hessian, slope)


def squared(theta, batch):
    """Return half the mean squared error."""
    return tf.reduce_mean(tf.square(tf.linalg.matvec(batch.inputs, theta["w"]) - batch.targets)) / 2


PROBLEM = ml.BilevelProblem(
    start=lambda phi, task: {"w": tf.zeros([FEATURES], tf.float64)},
    inner_loss=lambda theta, phi, batch, model: (
        squared(theta, batch) + tf.reduce_sum(tf.exp(phi["strengths"]) * tf.square(theta["w"])) / 2
    ),
    outer_loss=lambda theta, phi, task, model: squared(theta, task.query),
    rule=ml.rules.sgd(RATE),
    steps=STEPS,
)


@pytest.fixture(scope="module")
def source(data):
    """Return a source of the one task."""
    x, y, held_x, held_y = (tf.constant(leaf)[None] for leaf in data[0])

    class Source:
        constant = True

        def sample(self, seed, tasks):
            task = ml.Task(ml.Batch(x, y), ml.Batch(held_x, held_y))
            return tf.nest.map_structure(lambda leaf: tf.repeat(leaf, tasks, 0), task)

    return Source()


CASES = {
    "checkpointed": (ml.estimators.checkpointed(), by_hand),
    "forward_mode": (ml.estimators.forward_mode(), by_hand),
    "full window": (ml.estimators.truncated(STEPS), by_hand),
    "unrolled": (ml.estimators.unrolled(), by_hand),
    "truncated": (ml.estimators.truncated(WINDOW), lambda *a: by_hand(*a, WINDOW)),
    "implicit": (ml.estimators.implicit(iterations=FEATURES), lambda *a: (..., ..., at_the_solution(*a))),
}


@pytest.mark.parametrize("name", mostly_slow(CASES, "checkpointed", "truncated", "implicit"))
def test_training_is_the_recursion(data, source, name):
    """Gradients and penalties of two outer iterations equal NumPy's to 1e-10, meta-losses to 1e-6."""
    (arrays, strengths), (estimator, reference) = data, CASES[name]
    learner = ml.BilevelLearner(PROBLEM, estimator, {"strengths": tf.constant(strengths)})
    options = {"jit_compile": False, "check_derivatives": False}
    trainer = ml.MetaTrainer(learner, source, keras.optimizers.SGD(OUTER_RATE), 1, **options)
    losses = []
    for _ in range(2):
        losses.append(by_hand(arrays, strengths)[1])
        expected = reference(arrays, strengths)[2]
        history = trainer.run(1)
        np.testing.assert_allclose(history["outer/loss"], losses[-1:], rtol=1e-6)
        np.testing.assert_allclose(trainer.last_gradient["strengths"], expected, rtol=1e-10, atol=1e-10)
        strengths = strengths - OUTER_RATE * expected
        np.testing.assert_allclose(trainer.meta["strengths"], strengths, rtol=0, atol=1e-10)
    assert losses[1] < losses[0]

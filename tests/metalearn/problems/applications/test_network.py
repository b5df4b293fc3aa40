"""Learned schedules of a training: their gradient compared with NumPy, and errors."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from tests.metalearn.problems.applications.test_cleaning import exact, log_softmax

FEATURES, CLASSES, EXAMPLES, SIZE, STEPS = 3, 3, 5, 2, 4


def linear():
    return ml.models.mlp(input_size=FEATURES, hidden=(), output_size=CLASSES)


def rule():
    rate = ml.rules.learned(0.5, steps=STEPS, within=(0, 2))
    return ml.rules.weight_decay(ml.rules.sgd(rate), ml.rules.learned(0.01, steps=STEPS, positive=True))


@pytest.fixture(scope="module")
def tasks():
    random = np.random.default_rng(0)
    x, y = exact(2, EXAMPLES, FEATURES), random.integers(0, CLASSES, (2, EXAMPLES)).astype(np.int32)
    parts = [ml.Batch(tf.constant(x[i])[None], tf.constant(y[i])[None]) for i in (0, 1)]
    return ml.Task(*parts)


def trained(tasks, theta, rates, decays):
    """Return the outer loss after a step a number, each on the next two examples, the gradient by hand."""
    (x, y), (asked, answers) = (tuple(leaf.numpy()[0] for leaf in part) for part in tasks[:2])
    kernel, bias = theta["output/kernel"], theta["output/bias"]
    for step, (raw_rate, raw_decay) in enumerate(zip(rates, decays, strict=True)):
        rate, decay = 2 / (1 + np.exp(-raw_rate)), np.exp(raw_decay)
        rows = (SIZE * step + np.arange(SIZE)) % EXAMPLES
        errors = (np.exp(log_softmax(x[rows] @ kernel + bias)) - np.eye(CLASSES)[y[rows]]) / SIZE
        kernel, bias = (
            (1 - decay) * kernel - rate * x[rows].T @ errors,
            (1 - decay) * bias - rate * errors.sum(0),
        )
    return -log_softmax(asked @ kernel + bias)[np.arange(EXAMPLES), answers].mean()


def test_the_gradient_is_numpys(tasks):
    """Loss and gradient by rates and decays equal those of an independent loop, to 1e-8."""
    learner = ml.problems.network(linear(), rule(), STEPS, SIZE)
    rates, decays = np.linspace(-1, 1, STEPS), np.linspace(-5, -2, STEPS)
    phi = {"rule": {"learning_rate": tf.constant(rates), "weight_decay": tf.constant(decays)}}
    assert tf.nest.map_structure(np.shape, phi) == tf.nest.map_structure(np.shape, learner.initialize(0))
    posed = learner.posed(phi, tasks, (5, 6))
    noise = tf.nest.map_structure(lambda leaf: tf.cast(leaf, tf.float64), posed.tasks.support.noise)
    doubled = posed.tasks._replace(support=posed.tasks.support._replace(noise=noise))
    found, _ = learner.estimator(posed.problem, phi, doubled, (), (5, 6))
    theta = {key: leaf.numpy()[0] for key, leaf in noise.items()}
    np.testing.assert_allclose(found.loss, [trained(tasks, theta, rates, decays)], rtol=1e-12)
    steps = 1e-5 * np.eye(2 * STEPS).reshape(-1, 2, STEPS)
    expected = [
        np.subtract(*(trained(tasks, theta, rates + s * a, decays + s * b) for s in (1, -1))) / 2e-5
        for a, b in steps
    ]
    gradient = [found.gradient["rule"][name] for name in ("learning_rate", "weight_decay")]
    np.testing.assert_allclose(np.ravel(gradient), expected, atol=1e-8)


def test_initialisations_are_fresh(tasks):
    learner = ml.problems.network(linear(), rule(), STEPS, SIZE)
    assert learner.require_fit(tasks) == ["accuracy"]
    drawn = [learner.posed(learner.initialize(0), tasks, (0, k)).tasks.support.noise for k in (0, 1)]
    assert not np.array_equal(*(each["output/kernel"] for each in drawn))


def test_what_is_refused(tasks):
    with pytest.raises(ValueError, match=r"the rule sgd.* learns nothing"):
        ml.problems.network(linear(), ml.rules.sgd(0.1))
    with pytest.raises(ValueError, match="batch must be"):
        ml.problems.network(linear(), rule(), batch=0)
    wrong = tasks._replace(support=ml.Batch(tasks.support.inputs, tasks.support.targets + 5))
    with pytest.raises(ValueError, match="classes from"):
        ml.problems.network(linear(), rule(), STEPS, SIZE).require_fit(wrong)

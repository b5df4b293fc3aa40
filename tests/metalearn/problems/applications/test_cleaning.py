"""Weights of examples: their gradient compared with NumPy, detection of wrong labels, and errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.problems.applications.cleaning import f1

EXAMPLES, FEATURES, CLASSES, RATE = 6, 3, 3, 0.5


def exact(*shape):
    """Return normal numbers in float64 that are exact in float32, to which Keras casts inputs."""
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32).astype(np.float64)


def linear():
    return ml.models.mlp(input_size=FEATURES, hidden=(), output_size=CLASSES)


@pytest.fixture(scope="module")
def task():
    """Return one task of six examples, of which two are said to have a wrong label."""
    random = np.random.default_rng(1)
    x, y = exact(2, EXAMPLES, FEATURES), random.integers(0, CLASSES, (2, EXAMPLES))
    wrong = np.array([1, 0, 0, 1, 0, 0], bool)
    return ml.Task(
        ml.Batch(x[0], y[0].astype(np.int32)), ml.Batch(x[1], y[1].astype(np.int32)), info={"wrong": wrong}
    )


def tasks_of(task):
    return tf.nest.map_structure(lambda leaf: tf.constant(leaf)[None], task)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def trained(task, theta, weights, steps, size):
    """Return the outer loss and outputs after steps on consecutive batches, the gradient by hand."""
    kernel, bias = theta["output/kernel"].copy(), theta["output/bias"].copy()
    (x, y), (asked, answers) = task.support, task.query
    for step in range(steps):
        rows = (step * size + np.arange(size)) % EXAMPLES
        errors = np.exp(log_softmax(x[rows] @ kernel + bias)) - np.eye(CLASSES)[y[rows]]
        errors *= (2 / (1 + np.exp(-weights[rows])))[:, None] / size
        kernel, bias = kernel - RATE * x[rows].T @ errors, bias - RATE * errors.sum(0)
    outputs = log_softmax(asked @ kernel + bias)
    return -outputs[np.arange(EXAMPLES), answers].mean(), outputs


@pytest.mark.parametrize("size", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_the_gradient_is_numpys(task, size):
    """Loss, accuracy, F1 and gradient equal those of an independent loop and its differences, to 1e-8."""
    learner = ml.problems.cleaning(linear(), EXAMPLES, ml.rules.sgd(RATE), 5, batch=size, seed=3)
    weights = np.linspace(-1, 1, EXAMPLES)
    found = learner.meta_gradient({**learner.initialize(0), "weights": tf.constant(weights)}, tasks_of(task))
    start = ml.functional.initialize(linear(), 3)
    theta = {key: np.float64(value) for key, value in start.items()}
    loss, outputs = trained(task, theta, weights, 5, size)
    np.testing.assert_allclose(found.loss, [loss], rtol=1e-12)
    np.testing.assert_allclose(found.metrics["accuracy"], [np.mean(outputs.argmax(1) == task.query.targets)])
    steps = 1e-5 * np.eye(EXAMPLES)
    ends = [[trained(task, theta, weights + sign * step, 5, size)[0] for sign in (1, -1)] for step in steps]
    expected = np.subtract(*np.transpose(ends)) / 2e-5
    np.testing.assert_allclose(found.gradient["weights"], expected, atol=1e-8)
    # Half of the examples are below 0: of the two wrong ones, the first is.
    np.testing.assert_allclose(found.metrics["f1"], [2 * 1 / (2 + 3)])


def test_f1():
    masks = [[True, True, False, False], [True, False, True, True]]
    np.testing.assert_allclose(f1(*map(tf.constant, masks), tf.float64), 2 / (2 + 3))
    np.testing.assert_allclose(f1(*map(tf.constant, [[False]] * 2), tf.float64), 0)


def test_without_the_truth_there_is_no_f1(task):
    learner = ml.problems.cleaning(linear(), EXAMPLES, ml.rules.sgd(RATE), 1)
    assert learner.require_fit(tasks_of(task)) == ["accuracy", "f1"]
    assert learner.require_fit(tasks_of(task._replace(info=()))) == ["accuracy"]


@pytest.mark.slow
def test_wrong_labels_are_found():
    """Of twenty labels, learned weights identify exactly the three wrong ones: F1 rises from 0 to 1."""
    random = np.random.default_rng(0)
    classes = np.tile([0, 1], 10).astype(np.int32)
    x, held = (random.normal(size=(20, 2)) * 0.3 + 2 * classes[:, None] - 1 for _ in range(2))
    wrong = np.isin(np.arange(20), [2, 7, 11])
    given = ml.Task((x, np.where(wrong, 1 - classes, classes)), (held, classes), info={"wrong": wrong})
    model = ml.models.mlp(input_size=2, hidden=(), output_size=2)
    learner = ml.problems.cleaning(model, 20, ml.rules.sgd(1.0), 10)
    options = {"jit_compile": False, "check_derivatives": False}
    trainer = ml.MetaTrainer(learner, ml.tasks.dataset(given), keras.optimizers.Adam(0.1), 1, **options)
    history = trainer.run(30)
    assert history["outer/f1"][0] == 0
    assert history["outer/f1"][-1] == 1


def test_what_is_refused(task):
    rule = ml.rules.sgd(RATE)
    with pytest.raises(ValueError, match="batch=4 does not divide the 6 examples"):
        ml.problems.cleaning(linear(), EXAMPLES, rule, batch=4)
    with pytest.raises(ValueError, match="logits"):
        ml.problems.cleaning(ml.models.mlp(output_size=1), EXAMPLES, rule)
    noisy = keras.Sequential([keras.Input([3]), keras.layers.Dropout(0.5), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="random draws in training"):
        ml.problems.cleaning(noisy, EXAMPLES, rule)
    with pytest.raises(ValueError, match="but there are weights for examples=8"):
        ml.problems.cleaning(linear(), 8, rule).require_fit(tasks_of(task))
    x, y = task.support
    for part in ("support", "query"):
        labels = ml.Batch(x, np.where(y == y[0], 7, y).astype(np.int32))
        with pytest.raises(ValueError, match="classes from"):
            ml.problems.cleaning(linear(), EXAMPLES, rule).require_fit(
                tasks_of(task._replace(**{part: labels}))
            )

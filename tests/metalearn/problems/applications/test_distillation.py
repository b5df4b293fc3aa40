"""Distilled examples: their gradient compared with NumPy, random initialisations, and errors."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.nn.fresh import fresh
from metalearn.problems import Noisy
from tests.metalearn.problems.applications.test_cleaning import exact, log_softmax

FEATURES, CLASSES, RATE, STEPS = 4, 3, 0.5, 3


def linear():
    return ml.models.mlp(input_size=FEATURES, hidden=(), output_size=CLASSES)


@pytest.fixture(scope="module")
def images():
    return exact(CLASSES, FEATURES)


@pytest.fixture(scope="module")
def tasks():
    random = np.random.default_rng(3)
    x, y = exact(2, 7, FEATURES), random.integers(0, CLASSES, (2, 7)).astype(np.int32)
    return ml.Task((), ml.Batch(tf.constant(x), tf.constant(y)))


def trained(images, theta, query):
    kernel, bias = theta["output/kernel"], theta["output/bias"]
    for _ in range(STEPS):
        errors = (np.exp(log_softmax(images @ kernel + bias)) - np.eye(CLASSES)) / CLASSES
        kernel, bias = kernel - RATE * images.T @ errors, bias - RATE * errors.sum(0)
    outputs = log_softmax(query.inputs @ kernel + bias)
    return -outputs[np.arange(7), query.targets].mean()


def test_the_gradient_is_numpys(images, tasks):
    """Loss and gradient equal those of an independent loop and its differences, for each task, to 1e-7."""
    learner = ml.problems.distillation(linear(), (images, np.arange(CLASSES)), ml.rules.sgd(RATE), STEPS)
    phi = {**learner.initialize(0), "images": tf.constant(images)}
    posed = learner.posed(phi, tasks, (5, 6))
    doubled = posed.tasks._replace(
        support=tf.nest.map_structure(lambda x: tf.cast(x, tf.float64), posed.tasks.support)
    )
    found, _ = learner.estimator(posed.problem, phi, doubled, (), (5, 6))
    starts = tf.nest.map_structure(lambda leaf: leaf.numpy(), doubled.support.noise)
    gradients = np.zeros((2, *images.shape))
    for number, query in enumerate(zip(*(leaf.numpy() for leaf in tasks.query), strict=True)):
        loss = functools.partial(
            trained, theta={k: v[number] for k, v in starts.items()}, query=ml.Batch(*query)
        )
        np.testing.assert_allclose(found.loss[number], loss(images), rtol=1e-12)
        for place in np.ndindex(images.shape):
            step = np.zeros(images.shape)
            step[place] = 1e-5
            gradients[(number, *place)] = (loss(images + step) - loss(images - step)) / 2e-5
    np.testing.assert_allclose(found.per_task["images"], gradients, atol=1e-7)
    assert not np.allclose(starts["output/kernel"][0], starts["output/kernel"][1])


def test_initialisations_are_those_of_the_model():
    """Kernels have Glorot's range and variance, biases are zero; equal seeds draw equal bits in a graph."""
    model = ml.models.mlp(input_size=20, hidden=(30,), output_size=10)
    drawn = fresh(model, (0, 1), 200)
    for name, fans in {"hidden_0": 50, "output": 40}.items():
        kernel, limit = drawn[f"{name}/kernel"].numpy(), np.sqrt(6 / fans)
        assert kernel.shape[0] == 200
        assert np.abs(kernel).max() <= limit
        assert np.abs(kernel).max() > 0.99 * limit
        np.testing.assert_allclose(kernel.var(), limit**2 / 3, rtol=0.03)
        assert abs(kernel.mean()) < 4 * limit / np.sqrt(3 * kernel.size)
        assert not drawn[f"{name}/bias"].numpy().any()
    graph = tf.function(lambda seed: fresh(model, seed, 200), autograph=False)
    again = graph(tf.constant([0, 1]))
    tf.nest.map_structure(np.testing.assert_array_equal, dict(drawn), dict(again))
    assert not np.allclose(fresh(model, (0, 2), 200)["output/kernel"], drawn["output/kernel"])


def test_iterations_and_evaluations_start_afresh(images, tasks):
    learner = ml.problems.distillation(linear(), (images, np.arange(CLASSES)), ml.rules.sgd(RATE), STEPS)
    meta = learner.initialize(0)
    starts = [learner.posed(meta, tasks, seed).tasks.support for seed in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert isinstance(starts[0], Noisy)
    first, again, *others = (start.noise["output/kernel"].numpy() for start in starts)
    np.testing.assert_array_equal(first, again)
    assert all(not np.isclose(first, other).any() for other in others)


def test_what_is_refused(images, tasks):
    rule, classes = ml.rules.sgd(RATE), np.arange(CLASSES)
    with pytest.raises(ValueError, match="classes from 1 to 3, but there are 3"):
        ml.problems.distillation(linear(), (images, classes + 1), rule)
    with pytest.raises(ValueError, match="NaN"):
        ml.problems.distillation(linear(), (np.full_like(images, np.nan), classes), rule)
    with pytest.raises(ValueError, match=r"the model takes \[n, 4\]"):
        ml.problems.distillation(linear(), (images[:, :3], classes), rule)
    normal = keras.Sequential([keras.Input([4]), keras.layers.Dense(3, kernel_initializer="he_normal")])
    with pytest.raises(ValueError, match="initialised by HeNormal, which cannot be drawn anew"):
        ml.problems.distillation(normal, (images, classes), rule)
    learner = ml.problems.distillation(linear(), (images, classes), rule)
    wrong = tasks._replace(query=ml.Batch(tasks.query.inputs, tasks.query.targets + 9))
    with pytest.raises(ValueError, match="relabel them"):
        learner.require_fit(
            tf.nest.map_structure(lambda x: tf.cast(x, "float32") if x.dtype.is_floating else x, wrong)
        )

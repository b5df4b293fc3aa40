"""A network that rates examples: its gradient compared with NumPy, and the area under the ROC curve."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.problems.applications.datarater import auc
from tests.metalearn.problems.applications.test_cleaning import exact, log_softmax

FEATURES, CLASSES, EXAMPLES, SIZE, STEPS, RATE = 3, 3, 6, 3, 3, 0.5


def linear(classes=CLASSES):
    return ml.models.mlp(input_size=FEATURES, hidden=(), output_size=classes)


@pytest.fixture(scope="module")
def tasks():
    """Return one task, of which some labels of queries are said to be wrong."""
    random = np.random.default_rng(1)
    x, y = exact(2, EXAMPLES, FEATURES), random.integers(0, CLASSES, (2, EXAMPLES)).astype(np.int32)
    wrong = np.array([1, 0, 0, 1, 0, 0], bool)
    info = {"wrong": wrong, "asked_wrong": wrong, "asked_labels": (y[1] + wrong).astype(np.int32) % CLASSES}
    task = ml.Task(ml.Batch(x[0], y[0]), ml.Batch(x[1], y[1]), info=info)
    return tf.nest.map_structure(lambda leaf: tf.constant(leaf)[None], task)


def learner():
    return ml.problems.datarater(linear(), linear(), ml.rules.sgd(RATE), STEPS, SIZE, seed=3)


def rated(rater, x, y):
    return (x @ rater["output/kernel"] + rater["output/bias"])[np.arange(len(y)), y]


def trained(tasks, theta, rater):
    """Return the outer loss after steps on weighted examples, the gradient by hand."""
    (x, y), (asked, answers) = (tuple(leaf.numpy()[0] for leaf in part) for part in tasks[:2])
    kernel, bias = theta["output/kernel"], theta["output/bias"]
    for step in range(STEPS):
        rows = (step * SIZE + np.arange(SIZE)) % EXAMPLES
        weights = np.exp(rated(rater, x[rows], y[rows]))
        errors = np.exp(log_softmax(x[rows] @ kernel + bias)) - np.eye(CLASSES)[y[rows]]
        errors *= (weights / weights.sum())[:, None]
        kernel, bias = kernel - RATE * x[rows].T @ errors, bias - RATE * errors.sum(0)
    return -log_softmax(asked @ kernel + bias)[np.arange(EXAMPLES), answers].mean()


def test_the_gradient_is_numpys(tasks):
    """Loss, gradient and AUC equal those of an independent loop and its differences, to 1e-8."""
    kernel, bias = exact(FEATURES, CLASSES), exact(CLASSES)
    rater = {"output/bias": bias, "output/kernel": kernel}
    phi = {**learner().initialize(0), "rater": tf.nest.map_structure(tf.constant, rater)}
    found = learner().meta_gradient(phi, tasks)
    start = {key: np.float64(leaf) for key, leaf in ml.functional.initialize(linear(), 3).items()}
    np.testing.assert_allclose(found.loss, [trained(tasks, start, rater)], rtol=1e-12)
    for name, leaf in rater.items():
        for place in np.ndindex(leaf.shape):
            step = np.zeros(leaf.shape)
            step[place] = 1e-5
            ends = [trained(tasks, start, {**rater, name: leaf + sign * step}) for sign in (1, -1)]
            slope = np.subtract(*ends) / 2e-5
            np.testing.assert_allclose(found.gradient["rater"][name][place], slope, atol=1e-8)
    scores = rated(rater, tasks.query.inputs.numpy()[0], tasks.info["asked_labels"].numpy()[0])
    wrong = tasks.info["asked_wrong"].numpy()[0]
    expected = np.mean(scores[~wrong][:, None] > scores[wrong])
    np.testing.assert_allclose(found.metrics["auc"], [expected])


def test_auc_counts_pairs():
    """With 4 of 6 pairs in order, of which one is tied, the AUC is 3.5

    6; without positives it is 0.
    """
    positive = tf.constant([True, False, True, False, False])
    np.testing.assert_allclose(auc(positive, tf.constant([2.0, 1.0, 1.0, 0.0, 3.0])), (2 + 1 + 0.5) / 6)
    np.testing.assert_allclose(auc(positive & False, tf.zeros([5])), 0)


def test_without_the_truth_there_is_no_auc(tasks):
    assert learner().require_fit(tasks) == ["accuracy", "auc"]
    assert learner().require_fit(tasks._replace(info=())) == ["accuracy"]


def test_what_is_refused(tasks):
    with pytest.raises(ValueError, match="rater has 4 outputs and model 3"):
        ml.problems.datarater(linear(), linear(4), "sgd")
    wrong = tasks._replace(support=ml.Batch(tasks.support.inputs, tasks.support.targets + 5))
    with pytest.raises(ValueError, match="classes from"):
        learner().require_fit(wrong)

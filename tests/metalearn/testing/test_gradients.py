"""The check of a learner's meta-gradient: right ones pass, a biased one does not."""

import pytest
import tensorflow as tf

import metalearn as ml


@pytest.fixture(scope="module")
def penalised():
    """Return a function: estimator -> a learner of a penalty's strength, its phi and its task."""
    x = tf.constant([[[1.0, 0.5], [0.3, -1.0], [-0.7, 0.2]]], tf.float64)
    y = tf.constant([[[0.4], [1.0], [-0.3]]], tf.float64)
    task = ml.Task(ml.Batch(x, y), ml.Batch(-x, 2 * y))

    def error(theta, data):
        return tf.reduce_mean(tf.square(data.inputs @ theta["w"] - data.targets))

    problem = ml.BilevelProblem(
        start=lambda phi, task: {"w": phi["start"]},
        inner_loss=lambda theta, phi, data, model: (
            error(theta, data) + tf.exp(phi["log_l2"]) * tf.reduce_sum(tf.square(theta["w"]))
        ),
        outer_loss=lambda theta, phi, task, model: error(theta, task.query),
        rule=ml.rules.sgd(0.2),
        steps=3,
    )
    start = {"log_l2": tf.constant(-1.0, tf.float64), "start": tf.ones([2, 1], tf.float64)}

    def learn(estimator):
        learner = ml.BilevelLearner(problem, estimator, start)
        return learner, learner.initialize(0), task

    return learn


@pytest.mark.parametrize("estimator", ["checkpointed", "unrolled"])
def test_exact_meta_gradients_pass(penalised, estimator):
    assert ml.testing.check_gradients(*penalised(estimator)).passed(1e-8)


def test_a_biased_one_does_not(penalised):
    report = ml.testing.check_gradients(*penalised(ml.estimators.truncated(1)))
    assert not report.passed(1e-3)
    assert "log_l2" in report.error

"""Without an inner step, the meta-gradient is the gradient of the outer loss."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

ESTIMATORS = {
    "checkpointed": ml.estimators.checkpointed(),
    "first_order": ml.estimators.first_order(),
    "forward_mode": ml.estimators.forward_mode(),
    "truncated": ml.estimators.truncated(2),
    "unrolled": ml.estimators.unrolled(),
}


@pytest.mark.parametrize("mapping", ["vectorized", "sequential"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_of_a_problem(in_graph, name, mapping):
    """Losses and gradients through the start ``w^2`` and by c equal the closed form, to 1e-13.

    The loss is ``sum((c w^2)^3 - q w^2)``.
    """
    problem = ml.BilevelProblem(
        start=lambda phi, task: {"p": tf.square(phi["w"])},
        inner_loss=lambda theta, phi, batch, model: tf.reduce_sum(theta["p"]),
        outer_loss=lambda theta, phi, task, model: tf.reduce_sum(
            (phi["c"] * theta["p"]) ** 3 - task.query * theta["p"]
        ),
        rule=ml.rules.sgd(0.1),
        steps=0,
        mapping=mapping,
    )
    w, c, query = np.array([0.5, -1.5]), 0.7, np.array([[1.0, 2.0], [-0.3, 0.4]])
    phi = {"w": tf.constant(w), "c": tf.constant(c, tf.float64)}
    estimate = in_graph(lambda phi, tasks: ESTIMATORS[name](problem, phi, tasks)[0])
    result = estimate(phi, ml.Task((), tf.constant(query)))
    np.testing.assert_allclose(result.loss, np.sum((c * w**2) ** 3 - query * w**2, 1), rtol=1e-13)
    expected = (3 * c**3 * w**4 - query) * 2 * w
    np.testing.assert_allclose(result.per_task["w"], expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(result.per_task["c"], [np.sum(3 * c**2 * w**6)] * 2, rtol=1e-13)
    np.testing.assert_array_equal(result.inner.step, [0, 0])


def test_of_a_keras_model(sinusoids, in_graph):
    """The gradient equals that of Keras for the queries of all tasks, to 1e-12."""
    model = ml.models.mlp(hidden=(4,), activation="tanh", dtype="float64")
    learner = ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.1), 0)
    meta = learner.initialize(3)
    found = in_graph(learner.meta_gradient)(meta, sinusoids)
    plain = keras.models.clone_model(model)
    for variable, value in zip(plain.trainable_variables, meta["parameters"].values(), strict=True):
        variable.assign(value)
    inputs, targets = (tf.reshape(leaf, [-1, 1]) for leaf in sinusoids.query)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.mean_squared_error(targets, plain(inputs)))
    gradients = tape.gradient(loss, plain.trainable_variables)
    np.testing.assert_allclose(np.mean(found.loss), loss, rtol=1e-12)
    for key, expected in zip(meta["parameters"], gradients, strict=True):
        np.testing.assert_allclose(found.gradient["parameters"][key], expected, rtol=0, atol=1e-12)

"""First-order MAML: inner gradients are constants."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

RATE = 0.05


def by_assignment(model, meta, task, steps):
    """Return one task's query loss and first-order meta-gradient, the way tutorials compute it.

    Variables are assigned, which the tape does not record: ``assign_sub`` loses exactly the terms that
    first-order MAML omits.
    """
    variables = dict(zip(meta["parameters"], model.trainable_variables, strict=True))
    for key, variable in variables.items():
        variable.assign(meta["parameters"][key])
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(task.support.inputs) - task.support.targets))
        for variable, gradient in zip(
            variables.values(), tape.gradient(loss, list(variables.values())), strict=True
        ):
            variable.assign_sub(RATE * gradient)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(task.query.inputs) - task.query.targets))
    return loss, tape.gradient(loss, variables)


@pytest.mark.parametrize("steps", [3, 7])
def test_is_the_gradient_at_the_adapted_parameters(sinusoids, in_graph, steps):
    """Losses and gradients equal those of a loop with assigned variables, to 1e-12.

    Steps are in Python (3) or in a graph loop (7).
    """
    model = ml.models.mlp(hidden=(6,), dtype="float64")
    learner = ml.MetaLearner(
        model, ml.losses.mse, ml.rules.sgd(RATE), steps, estimator=ml.estimators.first_order()
    )
    meta = learner.initialize(0)
    result = in_graph(learner.meta_gradient)(meta, sinusoids)
    other, gradients = keras.models.clone_model(model), []
    for index in range(3):
        task = tf.nest.map_structure(lambda leaf, index=index: leaf[index], sinusoids)
        loss, gradient = by_assignment(other, meta, task, steps)
        gradients.append(gradient)
        np.testing.assert_allclose(result.loss[index], loss, rtol=1e-13)
        for key, value in gradient.items():
            np.testing.assert_allclose(result.per_task["parameters"][key][index], value, atol=1e-12)
    for key, mean in result.gradient["parameters"].items():
        np.testing.assert_allclose(mean, np.mean([each[key] for each in gradients], axis=0), atol=1e-12)


def test_learned_rates_are_differentiated_exactly():
    """The derivative by a learned rate is exact except for the paths through inner gradients.

    With ``L = theta^2 / 2`` inside, ``theta_{k+1} = theta_k - a g_k`` and constant ``g_k = theta_k``,
    ``d theta_2 / d a = -(g_0 + g_1)``, and with ``3 theta`` outside the derivative is
    ``-3 (theta_0 + (1 - a) theta_0)``. The exact one is ``d (3 (1 - a)^2 theta_0) / d a``.
    """
    rule = ml.rules.sgd(ml.rules.learned(0.25))
    problem = ml.BilevelProblem(
        start=lambda meta, task: meta["parameters"],
        inner_loss=lambda theta, meta, batch, model: tf.square(theta["t"]) / 2,
        outer_loss=lambda theta, meta, task, model: 3 * theta["t"],
        rule=rule,
        steps=2,
    )
    rate = {"learning_rate": tf.constant(0.25, tf.float64)}
    meta = {"parameters": {"t": tf.constant(2.0, tf.float64)}, "rule": rate}
    batch = ml.Batch(tf.zeros((1, 1, 1)), tf.zeros((1, 1, 1)))
    found = {
        name: getattr(ml.estimators, name)()(problem, meta, ml.Task(batch, batch))[0].gradient
        for name in ("first_order", "unrolled")
    }
    assert float(found["first_order"]["rule"]["learning_rate"]) == pytest.approx(
        -3 * (2 + 0.75 * 2), rel=1e-15
    )
    assert float(found["first_order"]["parameters"]["t"]) == pytest.approx(3.0, rel=1e-15)
    assert float(found["unrolled"]["rule"]["learning_rate"]) == pytest.approx(-6 * 0.75 * 2, rel=1e-15)
    assert float(found["unrolled"]["parameters"]["t"]) == pytest.approx(3 * 0.75**2, rel=1e-15)


def decaying(used=True, steps=2):
    """Return a problem with a weight decay phi that only the inner loss uses, or that is not used."""
    return ml.BilevelProblem(
        start=lambda phi, task: {"t": phi["start"]},
        inner_loss=lambda theta, phi, batch, model: tf.square(theta["t"]) * (phi["decay"] if used else 1.0),
        outer_loss=lambda theta, phi, task, model: 3 * theta["t"],
        rule=ml.rules.sgd(0.25),
        steps=steps,
    )


@pytest.mark.parametrize("estimator", [ml.estimators.first_order(), ml.estimators.truncated(0)])
def test_a_path_that_the_estimator_cuts_is_said_to_be_cut(estimator):
    """The error says whether the estimator cuts the only path to phi, or the loss does not depend on phi."""
    phi = {"decay": tf.constant(0.5, tf.float64), "start": tf.constant(2.0, tf.float64)}
    task = ml.Task(tf.zeros([1]), tf.zeros([1]))
    cut = (
        "no gradient reaches decay: the meta-loss depends on it only through inner gradients, .*checkpointed"
    )
    with pytest.raises(ValueError, match=cut):
        estimator(decaying(), phi, task)
    with pytest.raises(ValueError, match="no gradient reaches decay: the loss does not depend on it"):
        estimator(decaying(used=False), phi, task)
    # theta_2 = (1 - 0.5 d)^2 theta_0
    exact = ml.estimators.checkpointed()(decaying(), phi, task)[0].gradient
    assert float(exact["decay"]) == pytest.approx(-3 * (1 - 0.5 * 0.5) * 2, rel=1e-14)
    reached = ml.estimators.truncated(1)(decaying(), phi, task)[0].gradient
    assert float(reached["decay"]) == pytest.approx(-3 * 0.5 * (1 - 0.5 * 0.5) * 2, rel=1e-14)

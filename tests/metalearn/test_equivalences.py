"""Equivalent algorithms: the same meta-gradient, to 1e-12 in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

RATE, STEPS = 0.05, 2


def mlp():
    return ml.models.mlp(hidden=(4,), activation="tanh", dtype="float64")


def learned(per, steps=None):
    return ml.rules.sgd(ml.rules.learned(RATE, per=per, steps=steps, positive=True))


def assert_same(found, expected):
    tf.nest.assert_same_structure(found, expected)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def maml(in_graph, sinusoids):
    """MAML's phi and meta-gradient."""
    learner = ml.MetaLearner(mlp(), ml.losses.mse, ml.rules.sgd(RATE), STEPS)
    meta = learner.initialize(0)
    return meta, in_graph(learner.meta_gradient)(meta, sinusoids)


@pytest.mark.parametrize(
    "rule",
    [pytest.param(learned("element"), marks=pytest.mark.slow), learned("variable", STEPS)],
    ids=["meta_sgd", "lslr"],
)
def test_learned_rates_that_are_equal_and_held_still_are_maml(maml, in_graph, sinusoids, rule):
    """With equal fixed rates, Meta-SGD and LSLR have MAML's meta-gradient.

    Meta-SGD has a rate for each element, LSLR one for each variable and step.
    """
    meta, expected = maml
    learner = ml.MetaLearner(mlp(), ml.losses.mse, rule, STEPS)
    whole = learner.initialize(0)
    assert_same(whole["parameters"], meta["parameters"])
    found = in_graph(learner.meta_gradient)(whole, sinusoids)
    assert_same(found.gradient["parameters"], expected.gradient["parameters"])
    assert_same(found.inner, expected.inner)
    assert all(np.any(leaf != 0) for leaf in tf.nest.flatten(found.gradient["rule"]))


def test_anil_is_maml_with_the_body_held_still(in_graph, sinusoids):
    """ANIL has the meta-gradient of MAML with learned rates that are 0 in the body."""
    anil = ml.MetaLearner(mlp(), ml.losses.mse, ml.rules.sgd(RATE), STEPS, adapted="head")
    rule = ml.rules.sgd(ml.rules.learned(RATE, per="variable"))
    maml = ml.MetaLearner(mlp(), ml.losses.mse, rule, STEPS)
    meta = maml.initialize(0)
    (name,) = meta["rule"]
    rates = {key: rate * key.startswith("output") for key, rate in meta["rule"][name].items()}
    expected = in_graph(maml.meta_gradient)({**meta, "rule": {name: rates}}, sinusoids)
    found = in_graph(anil.meta_gradient)(anil.initialize(0), sinusoids)
    assert_same(found.gradient["parameters"], expected.gradient["parameters"])
    assert np.any(found.gradient["parameters"]["hidden_0/kernel"] != 0)


def test_cavia_that_does_not_use_its_context_is_training_on_all_tasks_at_once(in_graph, sinusoids):
    """With weights of 0 for the context, CAVIA has the gradient of Keras for the queries of all tasks."""
    model = ml.models.context_mlp(hidden=(4,), context=2, activation="tanh", dtype="float64")
    cavia = ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(1.0), STEPS, adapted="context")
    meta = cavia.initialize(0)
    first = "hidden_0/kernel"
    inputs = sinusoids.query.inputs.shape[-1]
    used = tf.concat([tf.ones((inputs, 4), tf.float64), tf.zeros((2, 4), tf.float64)], axis=0)
    meta["parameters"][first] *= used
    found = in_graph(cavia.meta_gradient)(meta, sinusoids)

    plain = mlp()
    pooled = [tf.reshape(leaf, [-1, leaf.shape[-1]]) for leaf in sinusoids.query]
    for variable in plain.trainable_variables:
        value = meta["parameters"]["/".join(variable.path.split("/")[-2:])]
        variable.assign(value[: variable.shape[0]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.mean_squared_error(pooled[1], plain(pooled[0])))
    np.testing.assert_allclose(np.mean(found.loss), loss, rtol=1e-12)
    for variable, expected in zip(
        plain.trainable_variables, tape.gradient(loss, plain.trainable_variables), strict=True
    ):
        key = "/".join(variable.path.split("/")[-2:])
        gradient = found.gradient["parameters"][key]
        np.testing.assert_allclose(gradient[: variable.shape[0]], expected, rtol=0, atol=1e-12)

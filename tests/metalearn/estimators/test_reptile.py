"""Reptile: the displacement of the adapted parameters, and its errors."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

# From the project's design notes, section 6: p0 - pK after so many steps.
PUBLISHED = {1: [-0.05, -0.08, -0.18], 3: [-0.1355, -0.1952, -0.3528]}


@pytest.mark.parametrize("steps", PUBLISHED)
def test_published(quadratic, published, steps):
    """Results equal the published values, to 1e-14."""
    result, _ = ml.estimators.reptile()(quadratic(steps).problem, *published)
    np.testing.assert_allclose(result.gradient["parameters"]["p"], PUBLISHED[steps], rtol=0, atol=1e-14)


def test_is_the_mean_displacement_of_adaptation(sinusoids, in_graph):
    """The result is the mean of ``theta_0 - theta_K`` of :meth:`MetaLearner.adapt`, to 1e-14."""
    learner = ml.MetaLearner(
        ml.models.mlp(hidden=(4,), dtype="float64"),
        ml.losses.mse,
        ml.rules.momentum(0.02, 0.8),
        steps=7,
        estimator=ml.estimators.reptile(),
    )
    meta = learner.initialize(0)
    result = in_graph(learner.meta_gradient)(meta, sinusoids)
    fitted = in_graph(learner.adapt)(meta, sinusoids.support).parameters
    for key, start in meta["parameters"].items():
        np.testing.assert_allclose(result.inner.parameters[key], fitted[key], rtol=0, atol=1e-14)
        np.testing.assert_allclose(result.per_task["parameters"][key], start - fitted[key], atol=1e-14)
        expected = start - np.mean(fitted[key], axis=0)
        np.testing.assert_allclose(result.gradient["parameters"][key], expected, rtol=0, atol=1e-14)
    expected = learner.losses(meta, sinusoids, ml.Inner(fitted))["outer/loss"]
    np.testing.assert_allclose(result.loss, expected, rtol=1e-13)


def test_pulls_the_displacement_back_to_phi(quadratic, published):
    """With ``theta_0 = exp(phi)``, the gradient is ``exp(phi) (theta_0 - theta_K)``, to 1e-14."""
    meta, tasks = published
    problem = dataclasses.replace(
        quadratic(3).problem, start=lambda meta, task: {"p": tf.exp(meta["parameters"]["p"])}
    )
    result, _ = ml.estimators.reptile()(problem, meta, tasks)
    start = np.exp(meta["parameters"]["p"])
    expected = start * (start - result.inner.parameters["p"][0])
    np.testing.assert_allclose(result.gradient["parameters"]["p"], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ({"rule": ml.rules.sgd(ml.rules.learned(0.1))}, "rule/learning_rate"),
        ({"adapted": "output/*"}, "parameters/hidden_0/bias, parameters/hidden_0/kernel"),
    ],
)
def test_what_is_not_adapted_is_refused(arguments, missing):
    """The learner's constructor rejects meta-parameters that are not adapted, with names and remedy."""
    settings = {"rule": ml.rules.sgd(), "estimator": ml.estimators.reptile(), **arguments}
    with pytest.raises(ValueError, match=rf"reptile cannot learn {missing}: .*adapted='all'.*checkpointed"):
        ml.MetaLearner(ml.models.mlp(hidden=(2,)), ml.losses.mse, **settings)


def test_a_problem_is_refused_when_it_is_called(quadratic, published):
    """A bilevel problem without a learner is checked when the estimator is called."""
    meta, tasks = published
    with pytest.raises(ValueError, match="reptile cannot learn unused:"):
        ml.estimators.reptile()(quadratic(1).problem, {**meta, "unused": tf.constant(1.0)}, tasks)

"""The natural gradient, compared with the Fisher matrix of a softmax policy; the divergence of its update."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.problems.applications.rollout import distribution_of, followed

environments = ml.tasks.environments

STATES, CHOICES = 2, 3
DAMPING = 1e-3


def double(structure):
    return tf.nest.map_structure(lambda leaf: tf.cast(leaf, tf.float64), structure)


def posed(steps, radius, damping):
    """A linear softmax policy of a small table, its natural gradient, and two tasks, in float64."""
    environment, model = environments.Tabular(STATES, CHOICES), ml.models.mlp(STATES, (), CHOICES)
    learner = ml.problems.policy(environment, model, ml.rules.sgd(0.3), steps, "plain", radius=radius)
    # One task after the other is quicker to trace.
    problem = dataclasses.replace(learner.problem, mapping="sequential")
    estimator = dataclasses.replace(learner.estimator, damping=damping, iterations=20)
    tasks = double(ml.tasks.Rollouts(environment, 6, 4).sample((0, 0), 2))
    return environment, model, problem, estimator, double(learner.initialize(0)), tasks


def test_it_is_that_of_the_fisher_matrix():
    """Without inner steps, the natural gradient is the solution with the Fisher matrix in NumPy.

    F is the mean of ``(diag p - p p') x features features'``.
    """
    environment, model, problem, estimator, meta, tasks = posed(0, 0.01, DAMPING)
    plain, _ = estimator.estimator(problem, meta, tasks)
    found, _ = estimator(problem, meta, tasks)
    parameters = meta["parameters"]
    (bias,) = (name for name in parameters if "bias" in name)
    (kernel,) = (name for name in parameters if name != bias)
    fisher = np.zeros([(STATES + 1) * CHOICES] * 2)
    network = lambda theta, inputs: ml.functional.apply(model, theta, inputs)  # noqa: E731
    for task in range(2):
        episodes = tf.nest.map_structure(lambda leaf, task=task: leaf[task], tasks.query)
        result = followed(environment, network, parameters, distribution_of(environment.spec, 1.0), episodes)
        states = result.trajectories.observations.numpy().reshape(-1, STATES)
        for state in states:
            logits = state @ parameters[kernel].numpy() + parameters[bias].numpy()
            chances = np.exp(logits) / np.exp(logits).sum()
            features = np.append(state, 1.0)
            inner = np.diag(chances) - np.outer(chances, chances)
            fisher += np.kron(np.outer(features, features), inner) / len(states) / 2

    def flat(gradient):
        return np.concatenate([np.ravel(gradient["parameters"][name]) for name in (kernel, bias)])

    gradient = flat(plain.gradient)
    direction = np.linalg.solve(fisher + DAMPING * np.eye(len(fisher)), gradient)
    expected = np.sqrt(2 * 0.01 / (gradient @ direction)) * direction
    np.testing.assert_allclose(flat(found.gradient), expected, rtol=1e-5, atol=1e-9)
    cosine = gradient @ direction / np.linalg.norm(gradient) / np.linalg.norm(direction)
    assert cosine < 0.99


@pytest.mark.slow
def test_an_update_is_as_far_away_as_said():
    """The mean divergence of the adapted policies after an update is within 2 % of the radius.

    It is measured on the rollouts of the old policies, with the plain surrogate, whose second derivatives are
    those of an update on given rollouts.
    """
    radius = 1e-5
    environment, model, problem, estimator, meta, tasks = posed(1, radius, 1e-8)
    gradient = estimator(problem, meta, tasks)[0].gradient
    moved = tf.nest.map_structure(lambda leaf, step: leaf - step, meta, gradient)
    divergences = []
    for task in range(2):
        one = tf.nest.map_structure(lambda leaf, task=task: leaf[task], tasks)
        before, after = (ml.problems.adapted(problem, phi, one) for phi in (meta, moved))
        network = lambda theta, inputs: ml.functional.apply(model, theta, inputs)  # noqa: E731
        distribution = distribution_of(environment.spec, 1.0)
        seen = followed(environment, network, before, distribution, one.query).trajectories.observations
        inputs = tf.reshape(seen, [-1, STATES])
        old, new = (tf.nn.log_softmax(network(theta, inputs)) for theta in (before, after))
        divergences.append(tf.reduce_mean(tf.reduce_sum(tf.exp(old) * (old - new), 1)))
    np.testing.assert_allclose(np.mean(divergences), radius, rtol=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": len}, "estimator must be an estimator"),
        ({"radius": 0.0}, "radius must be a finite number above 0"),
        ({"damping": -1.0}, "damping must be a finite number above 0"),
        ({"iterations": 0}, "iterations must be an integer of at least 1"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    known = {"estimator": ml.estimators.checkpointed(), "outputs": len, "divergence": len}
    with pytest.raises(ValueError, match=message):
        ml.estimators.natural(**{**known, **options})

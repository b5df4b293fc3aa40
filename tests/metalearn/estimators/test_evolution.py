"""Evolution strategies: the antithetic formula, its statistics, its randomness."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.estimators.evolution import perturbation

SIGMA = 0.1


@pytest.fixture(scope="module")
def estimates(quadratic, published, in_graph):
    """Return a function: ``(pairs, seed) -> meta-gradients [400, 3]`` of 400 copies of the published task."""
    meta, tasks = published
    copies = tf.nest.map_structure(lambda leaf: tf.repeat(leaf, 400, 0), tasks)

    def compute(pairs, seed):
        estimator, problem = ml.estimators.evolution(SIGMA, pairs), quadratic(3).problem
        estimate = in_graph(lambda meta, seed: estimator(problem, meta, copies, seed=seed)[0])
        return estimate(meta, tf.constant(seed)).per_task["parameters"]["p"].numpy()

    return compute


def test_agrees_with_the_exact_gradient(estimates, quadratic, published, one_task):
    """For a quadratic, the mean of 25 600 pairs is within 4 standard errors of the exact gradient.

    Smoothing does not change the gradient of a quadratic. Errors are below 0.005, and the smallest component
    is 0.16.
    """
    found = estimates(64, (0, 1))
    meta, tasks = published
    adapted, jacobian = quadratic(3).path(one_task(tasks, 0), meta["parameters"]["p"].numpy())
    expected = jacobian * (adapted - tasks.query.targets[0].numpy())
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    assert error.max() < 0.005
    assert (np.abs(found.mean(0) - expected) < 4 * error).all()


def test_the_error_falls_as_the_root_of_the_pairs(estimates):
    """With sixteen times as many pairs, the standard deviation is a quarter, within 15 %."""
    few, many = (estimates(pairs, (0, pairs)).std(0).mean() for pairs in (4, 64))
    assert few / many == pytest.approx(4, rel=0.15)


def test_the_noise_is_standard_normal():
    """Four moments are within 5 standard errors of normal; leaves, tasks and pairs are uncorrelated."""
    meta = {"a": tf.zeros(250), "b": tf.zeros((10, 25))}
    noise = np.stack(
        [
            np.concatenate(
                [leaf.numpy().reshape(200, -1) for leaf in perturbation(meta, 200, (1, 2), pair).values()], 1
            )
            for pair in range(2)
        ]
    )
    moments, expected = [np.mean(noise**power) for power in (1, 2, 3, 4)], [0, 1, 0, 3]
    deviations = np.sqrt([1, 2, 15, 96])
    assert (np.abs(np.subtract(moments, expected)) < 5 * deviations / np.sqrt(noise.size)).all()
    a, b = noise[..., :250], noise[..., 250:]
    for one, other in ((a, b), (noise[0], noise[1]), (noise[:, :100], noise[:, 100:])):
        assert np.abs(np.mean(one * other)) < 5 / np.sqrt(one.size)


def test_the_seed_decides(quadratic, published, with_xla, as_vector):
    """Equal seeds give equal bits, and other seeds other estimates; XLA agrees to 1e-13."""
    problem, estimator = quadratic(2).problem, ml.estimators.evolution(SIGMA, 2)
    results = [
        as_vector(estimator(problem, *published, seed=seed)[0]) for seed in ((1, 2), (1, 2), (1, 3), (2, 2))
    ]
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0][1:4] != results[2][1:4]).all()
    assert (results[0][1:4] != results[3][1:4]).all()
    compiled = with_xla(lambda seed: estimator(problem, *published, seed=seed)[0])(tf.constant([1, 2]))
    np.testing.assert_allclose(as_vector(compiled), results[0], rtol=0, atol=1e-13)


def test_the_noise_is_not_that_of_the_tasks():
    """Rank correlation shows that tasks and noise from the same seed are independent."""
    tasks = ml.tasks.Sinusoid(shots=50).sample((3, 4), 20)
    noise = perturbation({"p": tf.zeros(50)}, 20, (3, 4), 0)["p"].numpy()
    ranks = [np.argsort(np.argsort(values.ravel())) for values in (tasks.support.inputs.numpy(), noise)]
    assert np.abs(np.corrcoef(ranks)[0, 1]) < 5 / np.sqrt(1000)


def test_losses_need_no_derivative(quadratic, published):
    """A rounded outer loss, whose derivative is zero everywhere, has the gradient of its smoothed version."""
    meta, tasks = published
    problem = dataclasses.replace(
        quadratic(0).problem,
        outer_loss=lambda theta, meta, task, model: tf.round(4 * tf.reduce_sum(theta["p"])) / 4,
    )
    estimator = ml.estimators.evolution(0.3, 1)
    copies = tf.nest.map_structure(lambda leaf: tf.repeat(leaf, 2000, 0), tasks)
    found = estimator(problem, meta, copies)[0].per_task["parameters"]["p"].numpy()
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - 1) < 4 * error + 0.01).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 1), "sigma must be a finite number above 0, got 0.0"),
        ((-0.1, 1), "sigma must be a finite number above 0, got -0.1"),
        ((0.1, 0), "pairs must be an integer of at least 1, got 0"),
        ((0.1, 2.0), "pairs must be an integer of at least 1, got 2.0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    """The message names the argument and the value."""
    with pytest.raises(ValueError, match=message):
        ml.estimators.evolution(*arguments)

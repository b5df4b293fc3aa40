"""Linear regression: the formula, least squares, and the closed form of MAML's loss and gradient."""

import math

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

SIZE, SHOTS, RATE, MEAN, SCALE, NOISE = 4, 6, 0.1, 0.7, 0.8, 0.5
CONTRACTION = 1 - 4 * RATE + 4 * RATE**2 * (SHOTS + SIZE + 1) / SHOTS


def test_targets_follow_the_rule():
    """Targets equal ``x . w`` in float64, to 1e-4."""
    task = ml.tasks.Linear(shots=20, queries=30, mean=1.0, scale=2.0).sample((0, 0), 100)
    weights = task.info.numpy().astype(np.float64)
    for inputs, targets in (task.support, task.query):
        np.testing.assert_allclose(targets[..., 0], np.einsum("tnd,td->tn", inputs, weights), atol=1e-4)


def test_weights_and_inputs_are_normal(assert_mean):
    """Weights and inputs have the given mean and variance, kurtosis 3, and no correlations."""
    task = ml.tasks.Linear(input_size=3, shots=2, mean=-1.0, scale=2.0).sample((1, 0), 20_000)
    for values in ((task.info.numpy() + 1.0) / 2.0, *task.support.inputs.numpy().swapaxes(0, 1)):
        for power, moment in enumerate((0, 1, 0, 3), start=1):
            assert_mean(values.astype(np.float64) ** power, moment)
        assert np.abs(np.corrcoef(values, rowvar=False) - np.eye(3)).max() < 0.03


def test_least_squares_recovers_the_weights():
    """Without noise, least squares with more examples than dimensions finds the weights, to 1e-5."""
    task = ml.tasks.Linear(shots=30).sample((2, 0), 20)
    for inputs, targets, weights in zip(*task.support, task.info, strict=True):
        found, *_ = np.linalg.lstsq(inputs.numpy().astype(np.float64), targets[:, 0].numpy())
        np.testing.assert_allclose(found, weights, atol=1e-5)


def test_losses_without_adapting(assert_mean, loss_of):
    """Predicting with weights v has the loss ``|v - mean|^2 + d scale^2``, which is least for the mean."""
    assert_mean(loss_of(ml.tasks.Linear(shots=1).sample((0, 0), 20_000), lambda x: 0.0), 10.0, most=0.1)
    task = ml.tasks.Linear(shots=1, input_size=SIZE, mean=MEAN, scale=SCALE).sample((0, 0), 20_000)
    start = np.array([0.2, -0.5, 1.0, 0.7])
    assert_mean(loss_of(task, lambda x: x @ np.full((SIZE, 1), MEAN)), SIZE * SCALE**2, most=0.05)
    expected = np.sum((start - MEAN) ** 2) + SIZE * SCALE**2
    assert_mean(loss_of(task, lambda x: x @ start[:, None]), expected, most=0.05)


def test_ridge_towards_the_mean_is_the_best_predictor(assert_mean):
    """Ridge regression of strength ``s^2

    scale^2`` is the best, and has the posterior's error.

    The error is ``s^2`` times the trace of the inverse of ``X'X + s^2

    scale^2 I``.
    """
    tasks = ml.tasks.Linear(shots=SHOTS, input_size=SIZE, mean=MEAN, scale=SCALE, noise=NOISE)
    task = tasks.sample((3, 0), 4000)
    inputs, targets, weights = (leaf.numpy().astype(np.float64) for leaf in (*task.support, task.info))
    gram = np.einsum("tni,tnj->tij", inputs, inputs)
    errors = {}
    for strength in (0.5, 1.0, 2.0):
        inverse = np.linalg.inv(gram + strength * NOISE**2 / SCALE**2 * np.eye(SIZE))
        residual = np.einsum("tni,tn->ti", inputs, targets[..., 0] - inputs.sum(-1) * MEAN)
        found = MEAN + np.einsum("tij,tj->ti", inverse, residual)
        errors[strength] = np.sum((found - weights) ** 2, -1)
        if strength == 1.0:
            assert_mean(errors[1.0] - NOISE**2 * np.trace(inverse, axis1=1, axis2=2), 0.0, most=0.02)
    assert errors[1.0].mean() < min(errors[0.5].mean(), errors[2.0].mean())


@pytest.mark.parametrize("start", [(0.2, -0.5, 1.0, 0.7), (MEAN,) * SIZE])
def test_maml_has_the_loss_and_the_gradient_of_the_closed_form(start, assert_mean):
    """Losses and gradients after one step are within 4 standard errors of their closed forms."""
    tasks = ml.tasks.Linear(SHOTS, 20, SIZE, MEAN, SCALE, NOISE).sample((4, 0), 4000)
    gap = np.array(start) - MEAN
    loss = CONTRACTION * (np.sum(gap**2) + SIZE * SCALE**2) + 4 * RATE**2 * NOISE**2 * SIZE / SHOTS
    for estimator, factor in (
        (ml.estimators.checkpointed(), CONTRACTION),
        (ml.estimators.first_order(), 1 - 2 * RATE),
    ):
        model = ml.models.mlp(SIZE, hidden=())
        learner = ml.MetaLearner(
            model, ml.losses.mse, ml.rules.sgd(RATE), adapted="output/kernel", estimator=estimator
        )
        meta = learner.initialize(0)
        meta["parameters"]["output/kernel"] = tf.constant(start, tf.float32)[:, None]
        result = learner.meta_gradient(meta, tasks)
        assert_mean(result.loss, loss, most=0.05)
        gradient = result.per_task["parameters"]["output/kernel"].numpy()[..., 0]
        for column, expected in zip(gradient.T, 2 * factor * gap, strict=True):
            assert_mean(column, expected, most=0.05)


def test_the_best_rate_without_noise():
    """The best rate is ``N

    (2 (N + d + 1))``, and its factor is ``(d + 1)

    (N + d + 1)``.
    """
    for shots, size in ((1, 1), (10, 10), (5, 40)):
        rates = np.linspace(0, 0.6, 600_001)
        factors = 1 - 4 * rates + 4 * rates**2 * (shots + size + 1) / shots
        assert math.isclose(rates[factors.argmin()], shots / (2 * (shots + size + 1)), abs_tol=1e-6)
        assert math.isclose(factors.min(), (size + 1) / (shots + size + 1), abs_tol=1e-9)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("input_size", 0, "an integer of at least 1"),
        ("scale", 0.0, "a finite number above 0"),
        ("scale", math.nan, "a finite number above 0"),
        ("mean", math.inf, "a finite number"),
        ("mean", None, "a finite number"),
    ],
)
def test_bad_settings_are_refused(name, value, message):
    with pytest.raises(ValueError, match=f"{name} must be {message}") as error:
        ml.tasks.Linear(**{name: value})
    assert repr(value) in str(error.value)

"""Sums of two sinusoids: the formula, the distributions, and the loss of predicting 0."""

import math

import numpy as np

import metalearn as ml


def test_targets_follow_the_rule(columns):
    """Targets equal the formula in float64 to 2e-4: angles of up to 130 have errors of 1e-5 in float32."""
    task = ml.tasks.Harmonic(shots=20, queries=30).sample((0, 0), 200)
    a_1, a_2, w, b_1, b_2, _ = columns(task)
    for inputs, targets in (task.support, task.query):
        x = inputs.numpy().astype(np.float64)
        expected = a_1 * np.sin(w * x + b_1) + a_2 * np.sin(2 * w * x + b_2)
        np.testing.assert_allclose(targets, expected, atol=2e-4)


def test_parameters_and_inputs_are_distributed_as_stated(assert_mean):
    """Moments are within 4 standard errors of the stated distributions, and values are uncorrelated.

    Amplitudes are normal, frequency, phases and centre uniform, inputs normal around the centre.
    """
    task = ml.tasks.Harmonic(shots=4, queries=4).sample((1, 0), 20_000)
    values = task.info.numpy().astype(np.float64)
    for column in (0, 1):
        for power, moment in enumerate((0, 1, 0, 3), start=1):
            assert_mean(values[:, column] ** power, moment)
    for column, low, high in ((2, 5, 7), (3, 0, 2 * math.pi), (4, 0, 2 * math.pi), (5, -4, 4)):
        drawn = values[:, column]
        assert low <= drawn.min() < drawn.max() <= high + 1e-6
        assert_mean(drawn, (low + high) / 2)
        assert_mean(np.square(drawn - (low + high) / 2), (high - low) ** 2 / 12)
    correlations = np.corrcoef(values, rowvar=False) - np.eye(6)
    assert np.abs(correlations).max() < 4.5 / math.sqrt(len(values))
    for batch in (task.support, task.query):
        offsets = batch.inputs.numpy()[..., 0] - values[:, 5:]
        assert_mean(offsets, 0)
        assert_mean(np.square(offsets), 1)
    assert (
        np.abs(np.corrcoef(task.support.inputs[..., 0] - values[:, 5:], rowvar=False) - np.eye(4)).max()
        < 0.03
    )


def test_other_ranges_are_taken():
    task = ml.tasks.Harmonic(frequency=(1, 2), phase=(0.5, 0.5), centre=(10, 11)).sample((0, 0), 100)
    low, high = task.info.numpy().min(0), task.info.numpy().max(0)
    assert 1 <= low[2] < high[2] <= 2
    np.testing.assert_array_equal([low[3:5], high[3:5]], 0.5)
    assert 10 <= low[5] < high[5] <= 11


def test_the_grid_is_around_the_centre_of_each_task():
    task = ml.tasks.Harmonic(queries=5, grid=True).sample((0, 0), 7)
    expected = task.info.numpy()[:, 5:] + np.array([-2, -1, 0, 1, 2])
    np.testing.assert_allclose(task.query.inputs[..., 0], expected, atol=1e-6)


def test_predicting_zero_costs_one(assert_mean, loss_of):
    """The loss of predicting 0 is 1, at random inputs and at every point of the grid."""
    for grid in (False, True):
        task = ml.tasks.Harmonic(shots=1, queries=20, grid=grid).sample((0, 0), 20_000)
        assert_mean(loss_of(task, np.zeros_like), 1.0, most=0.02)
    assert_mean(np.square(task.query.targets[:, 0]), 1.0, most=0.02)

"""Step functions: the formula, the distributions, and the losses of predictors that do not adapt."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import metalearn as ml


def test_targets_follow_the_rule(columns):
    """Targets are exactly ``low`` up to the location and ``high`` beyond, for given levels."""
    task = ml.tasks.Step(low=(-2, 0), high=(-1, 3), shots=20, queries=30).sample((0, 0), 200)
    location, low, high = columns(task)
    for inputs, targets in (task.support, task.query):
        np.testing.assert_array_equal(targets, np.where(inputs.numpy() > location, high, low))


def test_parameters_are_uniform(assert_mean):
    task = ml.tasks.Step(low=(-2, 0), high=(-1, 3)).sample((1, 0), 20_000)
    for column, (low, high) in zip(task.info.numpy().T, ((-2.5, 2.5), (-2, 0), (-1, 3)), strict=True):
        assert low <= column.min() < column.max() <= high
        assert_mean(column, (low + high) / 2)
        assert_mean(np.square(column - (low + high) / 2), (high - low) ** 2 / 12)
    assert np.abs(np.corrcoef(task.info.numpy(), rowvar=False) - np.eye(3)).max() < 0.03


def test_the_default_levels_are_one_apart_from_zero():
    task = ml.tasks.Step().sample((0, 0), 50)
    np.testing.assert_array_equal(np.unique(task.support.targets), [-1, 1])
    np.testing.assert_array_equal(task.info[:, 1:], np.tile([-1.0, 1.0], (50, 1)))


@settings(max_examples=15, deadline=None, database=None, derandomize=True)
@given(location=st.floats(-5, 5, width=32), seed=st.integers(0, 2**31 - 1))
def test_a_task_is_a_single_step(location, seed):
    """Over ascending inputs, targets change at most once, at the location."""
    tasks = ml.tasks.Step(location=(location, location), queries=50, grid=True).sample((seed, 0), 1)
    rises = np.flatnonzero(np.diff(tasks.query.targets[0, :, 0]))
    assert len(rises) <= 1
    if len(rises):
        before, after = tasks.query.inputs.numpy()[0, rises[0] : rises[0] + 2, 0]
        assert before <= location < after


def test_reference_losses(assert_mean, loss_of):
    """Predicting 0 has the loss 1, the best predictor ``clip(x

    2.5, -1, 1)`` the loss 1/3.
    """
    task = ml.tasks.Step(shots=1, queries=20).sample((0, 0), 20_000)
    np.testing.assert_array_equal(loss_of(task, np.zeros_like), 1.0)
    assert_mean(loss_of(task, lambda x: np.clip(x / 2.5, -1, 1)), 1 / 3, most=0.003)
    # No other predictor is better: what is left over has mean 0 wherever x is.
    inputs, targets = task.query
    left = targets.numpy() - np.clip(inputs.numpy() / 2.5, -1, 1)
    for power in range(6):
        assert_mean(np.mean((inputs.numpy() / 5) ** power * left, axis=(1, 2)), 0.0)

"""Helpers for tests of the task families."""

import math

import numpy as np
import pytest


@pytest.fixture
def columns():
    """Return a task's parameters as float64 columns ``[T, 1, 1]``, to recompute targets from."""

    def split(task):
        return np.split(task.info.numpy().astype(np.float64)[:, None, :], task.info.shape[1], -1)

    return split


@pytest.fixture
def assert_mean():
    """Check that independent numbers have a given mean, within four standard errors."""

    def check(values, expected, most=math.inf):
        values = np.asarray(values, np.float64).ravel()
        error = values.std(ddof=1) / math.sqrt(values.size)
        assert error < most, "too few numbers to tell"
        assert abs(values.mean() - expected) < 4 * error, (values.mean(), expected, error)

    return check


@pytest.fixture
def loss_of():
    """Return the mean squared error ``[T]`` of predictions for the query inputs."""

    def loss(task, predict):
        inputs, targets = (leaf.numpy().astype(np.float64) for leaf in task.query)
        return np.square(predict(inputs) - targets).mean(axis=(1, 2))

    return loss

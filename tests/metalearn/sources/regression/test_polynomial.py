"""Polynomials: the formula, the distributions, and the loss of predicting 0."""

import numpy as np
import pytest

import metalearn as ml


@pytest.mark.parametrize("degree", [0, 1, 3, 6])
def test_targets_follow_the_rule(degree, columns):
    """Targets equal NumPy's polynomials in float64, to 1e-6 of terms of up to 3^degree."""
    task = ml.tasks.Polynomial(degree=degree, shots=20, queries=30).sample((0, 0), 50)
    assert task.info.shape == (50, degree + 1)
    coefficients = np.stack(columns(task))
    for inputs, targets in (task.support, task.query):
        expected = np.polynomial.polynomial.polyval(
            inputs.numpy().astype(np.float64), coefficients, tensor=False
        )
        np.testing.assert_allclose(targets, expected, atol=1e-6 * 3**degree)


def test_least_squares_recovers_the_coefficients():
    task = ml.tasks.Polynomial(shots=30, noise=0.0).sample((2, 0), 20)
    for inputs, targets, coefficients in zip(*task.support, task.info, strict=True):
        found = np.polynomial.polynomial.polyfit(inputs[:, 0].numpy(), targets[:, 0].numpy(), 3)
        np.testing.assert_allclose(found, coefficients, atol=1e-4)


def test_coefficients_are_uniform_and_independent(assert_mean):
    values = ml.tasks.Polynomial(coefficients=(-1, 3)).sample((1, 0), 20_000).info.numpy()
    assert -1 <= values.min() < values.max() <= 3
    for column in values.T:
        assert_mean(column, 1)
        assert_mean(np.square(column - 1), 16 / 12)
    assert np.abs(np.corrcoef(values, rowvar=False) - np.eye(4)).max() < 0.03


def test_predicting_zero_costs_41(assert_mean, loss_of):
    """The loss of predicting 0 is ``(1 + 9/3 + 81/5 + 729/7)

    3``, and no better predictor exists.

    These are the even moments of U[-3, 3] times the variance 1/3.
    """
    task = ml.tasks.Polynomial(shots=1, queries=20).sample((0, 0), 20_000)
    assert_mean(loss_of(task, np.zeros_like), (1 + 9 / 3 + 81 / 5 + 729 / 7) / 3, most=0.5)
    # The conditional mean is 0 at every x: the targets are not correlated with any power of it.
    inputs, targets = task.query
    for power in range(4):
        assert_mean(np.mean(inputs.numpy() ** power * targets.numpy(), axis=(1, 2)), 0.0)


@pytest.mark.parametrize("degree", [-1, 1.5, True, None])
def test_bad_degrees_are_refused(degree):
    with pytest.raises(ValueError, match="degree must be an integer of at least 0") as error:
        ml.tasks.Polynomial(degree=degree)
    assert repr(degree) in str(error.value)

"""Common parts of figures: means over windows, compared with NumPy, and a logarithmic axis."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.harness.figures.axes import (
    log_scale,
    looks,
    mark_leaving,
    positive,
    window_in_use,
    window_means,
)


def test_windows_have_their_middle_and_the_mean_of_what_is_finite():
    values = np.array([1, 3, np.nan, 5, np.inf, np.nan, 7], np.float32)
    middles, means = window_means(np.tile(values, 10), 2)
    padded = np.where(np.isfinite(np.tile(values, 10)), np.tile(values, 10), np.nan).reshape(35, 2)
    assert np.array_equal(middles, np.arange(0.5, 70, 2))
    known = np.isfinite(padded).any(1)
    np.testing.assert_array_equal(np.isfinite(means), known)
    np.testing.assert_allclose(means[known], np.nanmean(padded[known], axis=1))


@pytest.mark.parametrize(
    ("rows", "asked", "used"), [(1000, 50, 50), (100, 50, 10), (5, 50, 1), (70_000, 1, 35), (0, 3, 1)]
)
def test_windows_fit_the_rows(rows, asked, used):
    assert window_in_use(rows, asked) == used


def test_what_is_not_positive_and_finite_is_replaced():
    values = positive([1.0, 0.0, -1.0, np.inf, np.nan], missing=9)
    np.testing.assert_array_equal(values, [1, 9, 9, 9, 9])


def test_the_axis_spans_the_positive_values_below_the_ceiling():
    axes = Figure().subplots()
    log_scale(axes, [np.array([0.0, 1.0, np.nan]), np.array([100.0, 1e9])], ceiling=100)
    low, high = axes.get_ylim()
    np.testing.assert_allclose([low, high], [10**-0.1, 10**2.1])  # a margin of a twentieth


def test_nothing_finite_is_said():
    axes = Figure().subplots()
    log_scale(axes, [np.array([np.nan, -1.0])])
    assert [text.get_text() for text in axes.texts] == ["no finite values"]


def test_where_an_interval_leaves_the_axis_it_is_marked():
    axes = Figure().subplots()
    axes.set_ylim(1, 10)
    mark_leaving(axes, np.arange(4), np.array([0, 2, 2, np.nan]), np.array([9, 11, np.inf, np.nan]), "black")
    below, above = axes.lines
    assert (below.get_marker(), below.get_xdata().tolist(), set(below.get_ydata())) == ("v", [0], {0})
    assert (above.get_marker(), above.get_xdata().tolist(), set(above.get_ydata())) == ("^", [1, 2], {1})


def test_a_variable_looks_the_same_whatever_is_beside_it():
    """28 variables have different styles, which do not depend on learned hyperparameters."""
    names = [f"parameters/{index}" for index in range(28)]
    found = looks(names)
    assert len({tuple(look.values()) for look in found.values()}) == 28
    assert {name: looks(["another/rate", *names])[name] for name in names} == found
    assert all(found[first] != found[second] for first, second in itertools.pairwise(names))

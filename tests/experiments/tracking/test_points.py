"""Averages over intervals do not depend on the number of rows in each call."""

import numpy as np
import pytest

from experiments.harness.tracking.points import Points


def test_windows_do_not_depend_on_how_rows_arrive() -> None:
    rows = np.random.default_rng(1).normal(size=97)
    whole = Points(10, 1000)
    expected = whole.add(5, {"a": rows}, None, 1.0) + whole.rest()
    for size in (1, 3, 10, 50):
        points = Points(10, 1000)
        starts = range(0, 97, size)
        parts = [points.add(5 + first, {"a": rows[first : first + size]}, None, 1.0) for first in starts]
        got = [point for part in [*parts, points.rest()] for point in part]
        assert [point.end for point in got] == [point.end for point in expected]
        means = [point.values["a"] for point in got]
        np.testing.assert_allclose(means, [point.values["a"] for point in expected])
    assert [point.end for point in expected] == [*range(10, 101, 10), 102]
    assert expected[0].values["a"] == pytest.approx(rows[:5].mean())
    assert expected[-1].values["a"] == pytest.approx(rows[95:].mean())
    assert whole.rest() == []


def test_what_is_in_some_rows_only_is_the_mean_of_those_rows() -> None:
    """A metric that only some rows have is averaged over these rows; a window without any has no point."""
    rows = np.full(20, np.nan)
    rows[[0, 4]] = 1.0, 4.0
    points = Points(10, 1000).add(0, {"sparse": rows, "all": np.arange(20.0)}, None, 0.0)
    assert points == [(10, {"sparse": 2.5, "all": 4.5}, {}), (20, {"all": 14.5}, {})]


def test_what_is_not_finite_is_not_hidden() -> None:
    points = Points(2, 1000).add(0, {"a": np.array([1.0, np.inf, 3.0, 5.0])}, None, 0.0)
    assert points == [(2, {"a": np.inf}, {}), (4, {"a": 4.0}, {})]

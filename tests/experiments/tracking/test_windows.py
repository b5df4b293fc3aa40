"""Windows: the same means, whatever number of rows arrives at a time."""

import numpy as np
import pytest

from experiments.harness.tracking.windows import Windows


def test_windows_do_not_depend_on_how_rows_arrive() -> None:
    rows = np.random.default_rng(1).normal(size=97)
    whole = Windows(10)
    expected = whole.add(5, {"a": rows}) + whole.rest()
    for size in (1, 3, 10, 50):
        windows = Windows(10)
        parts = [windows.add(5 + first, {"a": rows[first : first + size]}) for first in range(0, 97, size)]
        got = [window for part in [*parts, windows.rest()] for window in part]
        assert [end for end, _ in got] == [end for end, _ in expected]
        np.testing.assert_allclose([mean["a"] for _, mean in got], [mean["a"] for _, mean in expected])
    assert [end for end, _ in expected] == [*range(10, 101, 10), 102]
    assert expected[0][1]["a"] == pytest.approx(rows[:5].mean())
    assert expected[-1][1]["a"] == pytest.approx(rows[95:].mean())
    assert whole.rest() == []


def test_what_is_in_some_rows_only_is_the_mean_of_those_rows() -> None:
    """And where a window has none, it is not in it."""
    rows = np.full(20, np.nan)
    rows[[0, 4]] = 1.0, 4.0
    windows = Windows(10).add(0, {"sparse": rows, "all": np.arange(20.0)})
    assert windows == [(10, {"sparse": 2.5, "all": 4.5}), (20, {"all": 14.5})]

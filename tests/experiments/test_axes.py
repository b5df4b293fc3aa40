"""What panels share: a logarithmic axis over what has a place on it."""

import numpy as np
from matplotlib.figure import Figure

from experiments.harness.axes import log_scale, positive


def test_positive_replaces_what_has_no_logarithm() -> None:
    values = positive(np.array([2.0, 0.0, -1.0, np.inf, np.nan]), missing=7)
    np.testing.assert_array_equal(values, [2, 7, 7, 7, 7])


def test_the_axis_spans_the_positive_values_below_the_ceiling() -> None:
    axes = Figure().subplots()
    log_scale(axes, [np.array([0.0, 1.0, np.nan]), np.array([100.0, 1e9])], ceiling=100)
    low, high = axes.get_ylim()
    np.testing.assert_allclose([low, high], [10**-0.1, 10**2.1])  # a margin of a twentieth


def test_nothing_finite_is_said() -> None:
    axes = Figure().subplots()
    log_scale(axes, [np.array([np.nan, -1.0])])
    assert [text.get_text() for text in axes.texts] == ["no finite values"]

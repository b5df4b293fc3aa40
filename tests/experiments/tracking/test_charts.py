"""Charts: every name in a group, and histograms of anything."""

import numpy as np
import pytest

from experiments.harness.tracking.charts import array_histogram, in_groups


def test_every_column_of_a_training_has_a_group() -> None:
    row = {"outer/loss": 1.0, "learning_rate": 0.1, "iterations_per_second": 9.0}
    expected = {"outer/loss": 1.0, "update/learning_rate": 0.1, "speed/iterations_per_second": 9.0}
    assert in_groups(row) == expected


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(5),
        np.full(5, -2.0),
        np.array([5e-324]),
        np.array([0.0, 5e-324]),
        np.array([1.0, np.nextafter(1.0, 2.0)]),
        np.array([1e-45, -1e-45, 0.0]),
        np.array([1e300, np.nextafter(1e300, np.inf)]),
        np.array([np.nan, 1.0, np.inf, 2.0]),
        np.array([np.nan]),
        np.empty(0),
        np.float64(0.5),
    ],
)
def test_histogram_of_any_values(values: np.ndarray) -> None:
    histogram = array_histogram(values)
    assert len(histogram.histogram) == 64
    assert sum(histogram.histogram) == np.isfinite(values).sum()
    assert np.all(np.diff(histogram.bins) > 0)

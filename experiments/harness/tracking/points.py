"""The points of a run's charts: means over windows of iterations, and now and then the meta-gradient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from metalearn.checks import require_count
from metalearn.training.errors import History
from metalearn.types import Meta

from .charts import in_groups, of_gradient


class Point(NamedTuple):
    """What is drawn at one iteration.

    Attributes:
        end: iterations that are finished.
        values: means over the window, by names in groups.
        spread: what has a histogram, by name: a meta-gradient of the window, where it is due.
    """

    end: int
    values: dict[str, float]
    spread: dict[str, np.ndarray]


class Points:
    """Makes points of the rows of a training, however many come at a time.

    Windows start at multiples of ``interval``. One is cut short where rows begin (a resumed run) or end
    (:meth:`rest`) within it, never moved.

    Args:
        interval: iterations of a window, at least 1.
        histogram_interval: iterations between meta-gradients, at least 1; there is at most one for each call.

    Attributes:
        end: iterations of which rows have come; None before the first.

    Raises:
        ValueError: if an interval is not an integer of at least 1.
    """

    def __init__(self, interval: int, histogram_interval: int) -> None:
        require_count("interval", interval)
        require_count("histogram_interval", histogram_interval)
        self._interval, self._histogram_interval = interval, histogram_interval
        self._rows = pd.DataFrame()
        self._gradient: Meta | None = None
        self.end: int | None = None

    def add(self, first: int, history: History, gradient: Meta | None, seconds: float) -> list[Point]:
        """Take the rows of consecutive iterations, and return the points that they complete.

        Args:
            first: iteration of the first row, counted from 0.
            history: of each metric a row an iteration.
            gradient: of the last of them.
            seconds: that they took.
        """
        rows = pd.DataFrame(history, dtype=np.float64)
        if rows.empty:
            return []
        before = self.rest() if self.end not in (None, first) else []
        self.end = first + len(rows)
        if gradient is not None and self.end // self._histogram_interval > first // self._histogram_interval:
            self._gradient = gradient
        rows = rows.set_axis(range(first, self.end)).assign(seconds=seconds / len(rows))
        known = rows if self._rows.empty else pd.concat([self._rows, rows])
        complete = known.index < self.end - self.end % self._interval
        self._rows = known[~complete]
        return before + self._points(known[complete])

    def rest(self) -> list[Point]:
        """Return the point of the rows since the last window, as a list of one, or none."""
        rows, self._rows = self._rows, pd.DataFrame()
        return self._points(rows)

    def _points(self, rows: pd.DataFrame) -> list[Point]:
        points = []
        windows = rows.groupby(rows.index // self._interval).mean()
        for window, means in windows.iterrows():
            values = means.dropna().to_dict()  # losses that take passes of their own are not in all rows
            seconds = values.pop("seconds")
            rate = {"iterations_per_second": 1 / seconds} if seconds > 0 else {}
            end = min((window + 1) * self._interval, rows.index[-1] + 1)
            points.append(Point(end, in_groups(values | rate), {}))
        if points and self._gradient is not None:
            points[-1] = points[-1]._replace(spread=of_gradient(self._gradient))
            self._gradient = None
        return points

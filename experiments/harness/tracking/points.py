"""Points of a run's charts: means over windows of iterations, and at intervals the meta-gradient."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from metalearn.checks import require_count
from metalearn.training.history import History
from metalearn.types import Meta

from .charts import in_groups, of_gradient


class Point(NamedTuple):
    """The values of one point.

    Attributes:
        end: the number of finished iterations.
        values: means over the window, by names in groups.
        spread: the values of histograms, by name: a meta-gradient of the window, at its interval.
    """

    end: int
    values: dict[str, float]
    spread: dict[str, np.ndarray]


class Points:
    """Converts the rows of a training, any number at a time, to points.

    Windows start at multiples of ``interval``. A window is shortened, not moved, if rows begin (in a resumed
    run) or end (:meth:`rest`) within it.

    Args:
        interval: the number of iterations of a window, at least 1.
        histogram_interval: the number of iterations between meta-gradients, at least 1; there is at most one
            for each call.

    Attributes:
        end: the number of iterations with rows; None before the first.

    Raises:
        ValueError: if an interval is not an integer of at least 1.
    """

    def __init__(self, interval: int = 100, histogram_interval: int = 1000) -> None:
        require_count("interval", interval)
        require_count("histogram_interval", histogram_interval)
        self._interval, self._histogram_interval = interval, histogram_interval
        self._names: list[str] = []
        self._rows = np.empty([0, 0])
        self._gradient: Meta | None = None
        self.end: int | None = None

    def add(self, first: int, history: History, gradient: Meta | None, seconds: float) -> list[Point]:
        """Take the rows of consecutive iterations, and return the points that they complete.

        Args:
            first: the iteration of the first row, counted from 0.
            history: the metrics, each with a row for each iteration.
            gradient: the meta-gradient of the last iteration.
            seconds: the time that they took.
        """
        count = len(next(iter(history.values()), ()))
        if count == 0:
            return []
        before = self.rest() if self.end not in (None, first) else []
        self.end = first + count
        if gradient is not None and self.end // self._histogram_interval > first // self._histogram_interval:
            self._gradient = gradient
        self._names = [*history, "seconds"]
        rows = np.stack([*history.values(), np.full(count, seconds / count)], 1, dtype=np.float64)
        self._rows = np.concatenate([self._rows, rows]) if len(self._rows) else rows
        return before + self._points(self.end - self.end % self._interval, self.end)

    def rest(self) -> list[Point]:
        """Return the point of the rows since the last window, as a list with one or no element."""
        return [] if self.end is None else self._points(self.end, self.end)

    def _points(self, until: int, end: int) -> list[Point]:
        """Remove the rows before an iteration, of rows up to ``end``, and return their points."""
        first = end - len(self._rows)
        taken, self._rows = np.split(self._rows, [max(until - first, 0)])
        cuts = np.arange(self._interval - first % self._interval, len(taken), self._interval)
        points = []
        for rows in np.split(taken, cuts) if len(taken) else []:
            first += len(rows)
            # Losses that take additional passes are not in all rows.
            some = np.any(~np.isnan(rows), axis=0)
            means = np.nanmean(rows[:, some], 0).tolist()
            values = dict(zip(itertools.compress(self._names, some), means, strict=True))
            seconds = values.pop("seconds")
            rate = {"iterations_per_second": 1 / seconds} if seconds > 0 else {}
            points.append(Point(first, in_groups(values | rate), {}))
        if points and self._gradient is not None:
            points[-1] = points[-1]._replace(spread=of_gradient(self._gradient))
            self._gradient = None
        return points

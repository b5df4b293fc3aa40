"""Means over windows of consecutive rows, however many rows arrive at a time."""

from __future__ import annotations

import numpy as np

from metalearn.checks import require_count

Window = tuple[int, dict[str, float]]
"""Iterations finished at the end of some consecutive rows, and the mean of each of their columns."""


class Windows:
    """Collects rows and averages them over windows that start at multiples of ``interval``.

    A window is cut short where rows begin (a resumed run) or end (:meth:`rest`) within it, never moved.
    """

    def __init__(self, interval: int) -> None:
        require_count("interval", interval)
        self._interval = interval
        self._first = 0
        self._columns: dict[str, np.ndarray] = {}

    def add(self, first_iteration: int, columns: dict[str, np.ndarray]) -> list[Window]:
        """Take the rows that follow, and return the windows that they complete."""
        first = first_iteration
        if self._columns:
            first = self._first
            columns = {name: np.concatenate([self._columns[name], rows]) for name, rows in columns.items()}
        end = first + length(columns)
        complete = max(end - end % self._interval, first)
        self._first = complete
        self._columns = {name: rows[complete - first :] for name, rows in columns.items()}
        return self._means(first, complete, columns)

    def rest(self) -> list[Window]:
        """Return the mean of the rows since the last window, as a list of one, or none."""
        columns, self._columns = self._columns, {}
        return self._means(self._first, self._first + length(columns), columns)

    def _means(self, first: int, end: int, columns: dict[str, np.ndarray]) -> list[Window]:
        if first == end:
            return []
        starts = np.arange(first - first % self._interval, end, self._interval).clip(first)
        ends = np.append(starts[1:], end)
        table = np.stack([rows[: end - first].astype(np.float64) for rows in columns.values()], 1)
        known = ~np.isnan(table)  # losses that take passes of their own are not in all rows
        counts = np.add.reduceat(known.astype(np.int64), starts - first)
        means = np.add.reduceat(np.where(known, table, 0), starts - first) / np.maximum(counts, 1)
        named = [
            {name: mean for name, mean, count in zip(columns, *row, strict=True) if count}
            for row in zip(means.tolist(), counts.tolist(), strict=True)
        ]
        return list(zip(ends.tolist(), named, strict=True))


def length(columns: dict[str, np.ndarray]) -> int:
    """Return the number of rows."""
    return len(next(iter(columns.values()), ()))

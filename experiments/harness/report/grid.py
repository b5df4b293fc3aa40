"""The grid of the configurations of a table in which two settings vary."""

from __future__ import annotations

import pandas as pd

from .table import Table

FILLED = 0.5
"""Smallest fraction of the cells of a grid that have runs; fewer points are not a grid."""


def grid(table: Table) -> pd.DataFrame | None:
    """Return the configurations by the values of the two settings that vary, NaN without a finished run.

    The setting with more values is horizontal. The result is None unless exactly two settings vary and at
    least half of the cells have runs.
    """
    if len(table.cells.columns) != 2:
        return None
    first, second = table.cells
    down, across = (second, first) if table.cells.nunique().is_monotonic_decreasing else (first, second)
    if table.cells.duplicated().any():
        return None
    named = table.cells.rename_axis("configuration").reset_index()
    found = named.pivot(index=down, columns=across, values="configuration")
    filled = len(named)
    if min(found.shape) < 2 or filled < FILLED * found.size or filled <= found.shape[1]:  # a row, a diagonal
        return None
    return found.sort_index(key=_order).sort_index(axis=1, key=_order)


def empty(found: pd.DataFrame) -> list[dict[str, str]]:
    """Return the values of both settings, by name, for which there is no finished run."""
    return found.isna().stack().loc[lambda missing: missing].index.to_frame().to_dict("records")


def _order(values: pd.Index) -> pd.Index:
    """Return a key that sorts numbers by size, before other values."""
    ranks = pd.to_numeric(values.to_series(), errors="coerce").rank(method="dense")
    others = values.to_series().where(ranks.isna()).rank(method="dense") + len(values)
    return pd.Index(ranks.fillna(others))

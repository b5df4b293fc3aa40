"""Runs without results in a table: failed, unfinished, damaged, or implied by other runs and absent."""

from __future__ import annotations

import pandas as pd

from ..sweeps.collection import Collection
from . import columns
from .grid import empty, grid
from .table import Table


def belonging(table: Table, found: Collection) -> pd.DataFrame:
    """Return the runs that belong to the table: those with the same task and evaluation as one in it."""
    unused = found.runs[(found.runs["reason"] != "") & found.runs["configuration"].notna()]
    evaluated = found.settings.filter(regex=r"^(task|evaluation)(\.|$)").map(str).agg("\n".join, axis=1)
    return unused[evaluated[unused.index].isin(evaluated[table.runs.index])]


def listing(table: Table, found: Collection) -> list[str]:
    """Return a line with the reason for each run that has no results in the table.

    Seeds and combinations of settings that others have are expected of all.

    Args:
        table: its rows determine the expected runs.
        found: all runs.
    """
    unused = belonging(table, found)
    rows = found.settings.loc[[*table.runs.index, *unused.index]].dropna(axis=1, how="all")
    return [*_found(unused, rows), *_missing_seeds(table, unused), *_missing_cells(table, unused, rows)]


def _found(unused: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Return why runs are excluded, named by all settings that vary, also if only between them."""
    paths = [path for path in columns.varying(rows.drop_duplicates()) if path != columns.LABEL]
    cells, names = columns.cells(paths, rows).loc[unused.index], columns.names(paths, rows)
    lines = []
    for (_, run), values in zip(unused.iterrows(), cells.to_numpy(), strict=True):
        settings = [f"{name} = {value}" for name, value in zip(names, values, strict=True)]
        lines.append(f"{', '.join([run['algorithm'], *settings])}, seed {run['seed']:.0f}: {run['reason']}")
    return sorted(lines)


def _missing_seeds(table: Table, unused: pd.DataFrame) -> list[str]:
    """Return the seeds that are missing in rows and present in others."""
    known = pd.concat([table.runs, unused]).groupby("configuration")["seed"].agg(set)
    expected = sorted(table.runs["seed"].unique())
    return [
        f"{title}, seed {seed:.0f}: missing"
        for configuration, title in table.rows["title"].items()
        for seed in expected
        if seed not in known[configuration]
    ]


def _missing_cells(table: Table, unused: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Return the combinations of two settings that have no run, finished or not."""
    found = grid(table)
    if found is None:
        return []
    tried = columns.cells(table.paths, rows).loc[unused.index].set_axis(table.cells.columns, axis=1)
    return [
        ", ".join(f"{name} = {pair[name]}" for name in (found.columns.name, found.index.name)) + ": missing"
        for pair in empty(found)
        if not (tried[list(pair)] == pd.Series(pair)).all(axis=1).any()
    ]

"""Runs that a table has no number of: failed, unfinished, damaged, or implied by the others and not there."""

from __future__ import annotations

import pandas as pd

from ..sweeps.collection import Collection
from . import columns
from .grid import empty, grid
from .table import Table


def belonging(table: Table, found: Collection) -> pd.DataFrame:
    """Return the runs that would have been in the table: of the same task and evaluation as one in it."""
    unused = found.runs[(found.runs["reason"] != "") & found.runs["configuration"].notna()]
    evaluated = found.settings.filter(regex=r"^(task|evaluation)(\.|$)").map(str).agg("\n".join, axis=1)
    return unused[evaluated[unused.index].isin(evaluated[table.runs.index])]


def listing(table: Table, found: Collection) -> list[str]:
    """Return a line for each run that the table has no number of, and why.

    Seeds and combinations of settings that others have are expected of all.

    Args:
        table: whose rows say what is expected.
        found: all runs.
    """
    unused = belonging(table, found)
    rows = found.settings.loc[[*table.runs.index, *unused.index]].dropna(axis=1, how="all")
    return [*_found(unused, rows), *_missing_seeds(table, unused), *_missing_cells(table, unused, rows)]


def _found(unused: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Say why runs are not used, named by all that varies, be it between them alone."""
    paths = [path for path in columns.varying(rows.drop_duplicates()) if path != columns.LABEL]
    cells, names = columns.cells(paths, rows).loc[unused.index], columns.names(paths, rows)
    lines = []
    for (_, run), values in zip(unused.iterrows(), cells.to_numpy(), strict=True):
        settings = [f"{name} = {value}" for name, value in zip(names, values, strict=True)]
        lines.append(f"{', '.join([run['algorithm'], *settings])}, seed {run['seed']:.0f}: {run['reason']}")
    return sorted(lines)


def _missing_seeds(table: Table, unused: pd.DataFrame) -> list[str]:
    """Say which seeds rows do not have that others have."""
    known = pd.concat([table.runs, unused]).groupby("configuration")["seed"].agg(set)
    expected = sorted(table.runs["seed"].unique())
    return [
        f"{title}, seed {seed:.0f}: missing"
        for configuration, title in table.rows["title"].items()
        for seed in expected
        if seed not in known[configuration]
    ]


def _missing_cells(table: Table, unused: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Say which combinations of two settings have no run, finished or not."""
    found = grid(table)
    if found is None:
        return []
    tried = columns.cells(table.paths, rows).loc[unused.index].set_axis(table.cells.columns, axis=1)
    return [
        ", ".join(f"{name} = {pair[name]}" for name in (found.columns.name, found.index.name)) + ": missing"
        for pair in empty(found)
        if not (tried == pd.Series(pair)).all(axis=1).any()
    ]

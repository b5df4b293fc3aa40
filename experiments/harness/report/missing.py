"""Runs that a table has no number of: failed, unfinished, damaged, or implied by the others and not there."""

from __future__ import annotations

from collections.abc import Sequence

from . import columns
from .grid import grid
from .runs import Config, Unused, configuration
from .table import Table


def belonging(table: Table, unused: Sequence[Unused]) -> list[Unused]:
    """Return the runs that would have been in the table: of the same task and evaluation as one in it."""
    same = [_evaluated(row.group.first.config) for row in table.rows]
    return [run for run in unused if run.config and _evaluated(run.config) in same]


def listing(table: Table, unused: Sequence[Unused]) -> list[str]:
    """Return a line for each run that the table has no number of, and why.

    Seeds and combinations of settings that others have are expected of all.

    Args:
        table: whose rows say what is expected.
        unused: runs that belong to it.
    """
    return [*_found(table, unused), *_missing_seeds(table, unused), *_missing_cells(table, unused)]


def _found(table: Table, unused: Sequence[Unused]) -> list[str]:
    """Say why runs are not used, named by all that varies, be it between them alone."""
    own = [columns.settings(run.config) for run in unused]
    rows = [*(columns.settings(row.group.first.config) for row in table.rows), *own]
    paths = [path for path in columns.varying(rows) if path != columns.LABEL]
    names = columns.names(paths, rows)
    lines = []
    for run, settings in zip(unused, own, strict=True):
        values = zip(names, columns.cells(paths, settings), strict=True)
        parts = [settings[columns.LABEL], *(f"{name} = {value}" for name, value in values)]
        lines.append(f"{', '.join(parts)}, seed {run.config.get('seed')}: {run.reason}")
    return sorted(lines)


def _missing_seeds(table: Table, unused: Sequence[Unused]) -> list[str]:
    """Say which seeds rows do not have that others have."""
    tried = [(configuration(run.config), run.config.get("seed")) for run in unused]
    expected = {run.seed for row in table.rows for run in row.group.runs}
    lines = []
    for row in table.rows:
        same = configuration(row.group.first.config)
        known = [run.seed for run in row.group.runs]
        absent = [seed for seed in sorted(expected - {*known}) if (same, seed) not in tried]
        lines += [f"{row.title}, seed {seed}: missing" for seed in absent]
    return lines


def _missing_cells(table: Table, unused: Sequence[Unused]) -> list[str]:
    """Say which combinations of two settings have no run, finished or not."""
    found = grid(table)
    if found is None:
        return []
    tried = [tuple(columns.cells(found.paths, columns.settings(run.config))) for run in unused]
    return [
        ", ".join(f"{name} = {value}" for name, value in zip(found.names, pair, strict=True)) + ": missing"
        for pair in found.empty
        if pair not in tried
    ]


def _evaluated(config: Config) -> tuple[object, object]:
    return config.get("task"), config.get("evaluation")

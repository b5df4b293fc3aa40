"""What varies between configurations: the settings that need a column, and what a row is called by them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from .runs import SEEDED, Config, label

Settings = dict[str, str]
"""What a configuration sets, as text, by its dotted path."""

LABEL, STEPS = "label", "learner.steps"

NAMES = {LABEL: "algorithm", STEPS: "K"}
"""Of columns that are not called by their setting."""

ABSENT = "-"

LONGEST = 40
"""Of a value, in characters."""


def settings(config: Config) -> Settings:
    """Return what a configuration sets, without what runs of one group may differ in.

    A function that is named by ``_target_`` stands at the path of the node that names it.
    """
    rest = {key: value for key, value in config.items() if key not in SEEDED}
    return {LABEL: label(config), **dict(_flat(rest, ""))}


def varying(rows: Sequence[Settings]) -> list[str]:
    """Return the settings that tell configurations apart: the columns of their table.

    The label comes first. What it determines is left out, and so is what another column does:
    a copy of it, a part of what it names, or what goes with each of its values wherever they recur.

    Args:
        rows: what each configuration sets.

    Returns:
        Paths; the label alone where nothing varies.
    """
    paths = list(dict.fromkeys(path for row in rows for path in row))
    differing = [path for path in paths if len({row.get(path) for row in rows}) > 1]
    shown = [LABEL] if LABEL in differing else []
    within = [path for path in differing if path != LABEL and not _determined(rows, LABEL, path)]

    def late(path: str) -> tuple[bool, bool]:
        return path != STEPS, not any(other.startswith(f"{path}.") for other in paths)

    for path in sorted(within, key=late):
        if not any(_goes_with(rows, other, path) for other in shown if other != LABEL):
            shown.append(path)
    return shown or [LABEL]


def names(paths: Sequence[str], rows: Sequence[Settings]) -> list[str]:
    """Return what columns are called: the end of their path that no other setting has."""
    known = {path for row in rows for path in row}

    def ends(path: str) -> Iterator[str]:
        parts = path.split(".")
        for start in reversed(range(len(parts))):
            end = ".".join(parts[start:])
            if not any(f".{other}".endswith(f".{end}") for other in known - {path}):
                yield end

    return [NAMES.get(path) or next(ends(path), path) for path in paths]


def cells(paths: Sequence[str], row: Settings) -> list[str]:
    """Return what a configuration has in the columns."""
    values = [row.get(path, ABSENT) for path in paths]
    return [value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…" for value in values]


def titles(paths: Sequence[str], rows: Sequence[Settings]) -> list[str]:
    """Return what rows are called: label, and the columns in which others of the label differ."""
    return [_title(paths, row, rows) for row in rows]


def _title(paths: Sequence[str], row: Settings, rows: Sequence[Settings]) -> str:
    alike = [other for other in rows if other[LABEL] == row[LABEL]]
    parts = [row[LABEL]] if LABEL in paths else []
    for path, name, value in zip(paths, names(paths, rows), cells(paths, row), strict=True):
        if path != LABEL and len({other.get(path) for other in alike}) > 1:
            parts.append(f"{name} = {value}")
    return ", ".join(parts) or row[LABEL]


def _determined(rows: Sequence[Settings], by: str, path: str) -> bool:
    """Say whether the same label and the same value of ``by`` always have the same value of ``path``."""
    values: dict[tuple[str, str | None], str | None] = {}
    return all(values.setdefault((row[LABEL], row.get(by)), row.get(path)) == row.get(path) for row in rows)


def _goes_with(rows: Sequence[Settings], shown: str, path: str) -> bool:
    """Say whether a column need not be shown beside another one."""
    if all(row.get(path) in (None, "null", row.get(shown)) for row in rows):
        return True  # an interpolation of the other setting
    recurs = len({(row[LABEL], row.get(shown)) for row in rows}) < len(rows)
    return (recurs or path.startswith(f"{shown}.")) and _determined(rows, shown, path)


def _flat(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            if "_target_" in value:
                yield path, str(value["_target_"]).rpartition(".")[2]
            parts = {name: part for name, part in value.items() if name != "_target_"}
            yield from _flat(parts, f"{path}.")
        else:
            yield path, value if isinstance(value, str) else json.dumps(value)

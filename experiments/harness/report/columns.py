"""Columns for the settings that vary between configurations, and the names of rows.

Settings are data frames with a row for each configuration and a column for each setting, as in
:mod:`..sweeps.collection`.
"""

from __future__ import annotations

import json

import pandas as pd

LABEL, STEPS = "label", "learner.steps"

NAMES = {LABEL: "algorithm", STEPS: "K"}
"""Headings of columns that differ from the name of their setting."""

TAKEN = (*NAMES.values(), "n", "before", "learned")
"""Headings of columns that are not settings."""

ABSENT = "-"

LONGEST = 40
"""Largest number of characters of a value."""


def varying(rows: pd.DataFrame) -> list[str]:
    """Return the settings that distinguish configurations: the columns of their table.

    The label is first, followed by K if it varies. Settings that are determined by the label or by another
    column are omitted: copies, parts of the object that it names, and settings with the same value wherever a
    value of it recurs. If nothing varies, only the label remains.
    """
    differing = [path for path in rows if rows[path].nunique(dropna=False) > 1]
    shown = [path for path in (LABEL, STEPS) if path in differing]
    within = [path for path in differing if path not in shown and not _determined(rows, LABEL, path)]
    for path in sorted(within, key=lambda path: not any(other.startswith(f"{path}.") for other in rows)):
        if not any(_goes_with(rows, other, path) for other in shown if other != LABEL):
            shown.append(path)
    return shown or [LABEL]


def names(paths: list[str], rows: pd.DataFrame) -> list[str]:
    """Return the headings of columns: the shortest ending of the path that no other setting has."""

    def name(path: str) -> str:
        parts = path.split(".")
        ends = [".".join(parts[start:]) for start in reversed(range(len(parts)))]
        others = [f".{other}" for other in {*rows} - {path}]
        found = next((end for end in ends if not any(o.endswith(f".{end}") for o in others)), path)
        return f"{found} (setting)" if found in TAKEN else found

    return [NAMES.get(path) or name(path) for path in paths]


def cells(paths: list[str], rows: pd.DataFrame) -> pd.DataFrame:
    """Return the values of the columns as text."""
    return rows.reindex(columns=paths).map(_cell)


def titles(paths: list[str], rows: pd.DataFrame) -> pd.Series:
    """Return the names of rows: the label, K, and the columns in which others of the same label differ."""
    texts, called = cells(paths, rows), rows[LABEL].astype(str)
    parts = [called] if LABEL in paths else []
    for path, name in zip(paths, names(paths, rows), strict=True):
        if path != LABEL:
            differs = rows.groupby(LABEL)[path].transform("nunique", dropna=False) > 1
            parts.append((f"{name} = " + texts[path]).where(differs | (path == STEPS), ""))
    joined = [", ".join(filter(None, row)) for row in zip(*parts, strict=True)]
    return pd.Series(joined, rows.index).where(lambda title: title != "", called)


def _cell(value: object) -> str:
    if isinstance(value, float) and value != value:
        return ABSENT
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _determined(rows: pd.DataFrame, by: str, path: str) -> bool:
    """Return whether the same label and the same value of ``by`` always have the same value of ``path``."""
    groups = rows.groupby([rows[LABEL], rows[by]], dropna=False, sort=False)
    return bool(groups[path].nunique(dropna=False).max() <= 1)


def _goes_with(rows: pd.DataFrame, shown: str, path: str) -> bool:
    """Return whether a column can be omitted because another one has the same information."""
    if (rows[path].isna() | (rows[path] == "null") | (rows[path] == rows[shown])).all():
        return True  # an interpolation of the other setting
    recurs = rows[[LABEL, shown]].duplicated().any()
    return bool(recurs or path.startswith(f"{shown}.")) and _determined(rows, shown, path)

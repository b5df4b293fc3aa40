"""The audit as tables: every row in the terminal, and a summary in a Markdown file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.markup import escape
from rich.table import Table

from ...harness.config import marked
from ...harness.console import console, print_table, say
from .cases import Case
from .functions import activations, losses
from .layers import EXCLUDED, layers
from .measure import EXACT, NONE, Row, measure
from .sections import SECTIONS, Section

MARK = "audit"

OURS = "metalearn.layers."

MAPPED, SEQUENTIAL = "exact", "exact, one task at a time: no `vectorized_map`"

WIDTH = 150
"""Smallest number of characters of a line of the table, so that a narrow terminal does not cut names."""

REMEDIES = {
    "SpectralNormalization": "by design: it treats singular vectors as constants",
    "categorical_crossentropy (logits, soft targets)": (
        "the mixed derivative with respect to targets and logits is zero; for learned targets, use "
        "`metalearn.losses.cross_entropy`, or call `tf.config.experimental.enable_op_determinism()`, as the "
        "commands here do"
    ),
}
"""Remedies for errors that no layer of this package fixes."""


def cases() -> list[Case]:
    """Return all cases: layers, activations, losses."""
    return [*layers(), *activations(), *losses()]


def audit(write: str | None) -> int:
    """Measure all cases and print the table; put it into the file ``write`` if given.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: if the file cannot be read or lacks the marks, before anything is measured.
    """
    if write is not None:
        marked.require_place(Path(write), MARK)
    rows = _measured("layers, activations and losses", cases(), measure)
    print_table(terminal_table(rows), WIDTH)
    text = markdown(rows)
    for section in SECTIONS:
        of_section = _measured(section.title, list(section.cases()), section.measure)
        print_table(section_table(section, of_section), WIDTH)
        text += f"\n### {section.title}\n\n{section.markdown(of_section)}"
    if write is not None:
        marked.write(Path(write), MARK, text)
        say(f"tables written to {write}")
    return 0


def _measured(title: str, every: Sequence[Any], measure_one: Callable[[Any], Any]) -> list[Any]:
    """Return the row of every case, and show the current case in the terminal."""
    rows = []
    with console.status("") as status:
        for number, case in enumerate(every, 1):
            status.update(f"{title}: case {number} of {len(every)}")
            rows.append(measure_one(case))
    return rows


def section_table(section: Section, rows: Sequence[Any]) -> Table:
    """Return a table with a line for each row of a section."""
    table = Table(box=None, padding=(0, 2, 0, 0), title=section.title, title_justify="left")
    for column in section.columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(escape, section.cells(row)))
    return table


def terminal_table(rows: Sequence[Row]) -> Table:
    """Return a table with a line for each case."""
    table = Table(box=None, padding=(0, 2, 0, 0), caption_justify="left")
    table.caption = "error: relative to differences of the gradient, the larger of the two modes"
    for column in ("family", "name", "second derivative", "error", "vectorized_map"):
        table.add_column(column, justify="right" if column == "error" else "left")
    for row in rows:
        verdict = row.verdict if row.verdict != NONE else f"{NONE}: {row.missing}"
        if row.case.single:
            verdict += " (float32)"
        colour = "" if row.verdict == EXACT else "[red]"
        error = "" if row.missing else f"{row.error:.0e}"
        mapped = "" if row.missing else ("yes" if row.mapped else f"no: {row.unmapped or row.map_error}")
        table.add_row(row.case.family, row.case.name, colour + verdict, error, mapped)
    return table


def markdown(rows: Sequence[Row]) -> str:
    """Return the compact table: a line for each inexact case, then the exact ones by family."""
    good = [row for row in rows if row.verdict == EXACT]
    lines = ["| second derivative | of |", "|---|---|"]
    for row in rows:
        if row.verdict != EXACT:
            lines.append(f"| **{_fault(row)}** | {row.case.family}: `{row.case.name}`{_remedy(row, good)} |")
    for label, mapped in ((SEQUENTIAL, False), (MAPPED, True)):
        of_label = [row for row in good if row.mapped is mapped]
        lines += [f"| {label} | {names} |" for names in _by_family(of_label)]
    excluded = "; ".join(f"{reason} ({', '.join(names)})" for reason, names in EXCLUDED.items())
    versions = f"Keras {keras.__version__}, TensorFlow {tf.__version__}"
    return (
        f"{len(rows)} cases, {versions}: Hessian-vector products with respect to inputs and weights, forward "
        "over reverse and reverse over reverse, compared with differences of the gradient; exact means to "
        "1e-6 in float64, or to 1e-3 where TensorFlow computes in float32 only. The size of an error depends "
        "on the inputs.\n\n" + "\n".join(lines) + f"\n\nNot measured: {excluded}.\n"
    )


def _by_family(rows: Iterable[Row]) -> list[str]:
    families: dict[str, list[str]] = {}
    for row in rows:
        families.setdefault(row.case.family, []).append(f"`{row.case.name}`")
    return [f"{family}: {', '.join(names)}" for family, names in families.items()]


def _fault(row: Row) -> str:
    if row.verdict == NONE:
        return f"none: {row.missing} has no derivative"
    return "not a number" if np.isnan(row.error) else f"wrong by {row.error:.0%}"


def _remedy(row: Row, good: Sequence[Row]) -> str:
    ours = OURS + row.case.keras_name
    if any(other.case.name == ours for other in good):
        return f"; `{ours}` is exact"
    return f"; {REMEDIES[row.case.name]}" if row.case.name in REMEDIES else ""

"""A table of a report as Markdown, for the terminal, as CSV and as HTML."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Callable

import numpy as np
import rich.markup
import rich.table

from ..console import clean
from .runs import Group
from .statistics import Value
from .table import Row, Table

Style = Callable[[str], str]


def title(table: Table) -> str:
    """Return what the table is of."""
    run = table.rows[0].group.first
    iterations = sorted({row.group.first.iterations for row in table.rows})
    trained = " or ".join(f"{each:,}".replace(",", " ") for each in iterations)
    return (
        f"{run.setting}: {run.metric} on {len(run.per_task)} fresh tasks (list "
        f"{run.tasks_hash}) before and after inner steps, {trained} iterations of training"
    )


def caption(table: Table) -> str:
    """Return how to read the numbers."""
    sentences = [
        "Losses: mean over n seeds ± 95 % t interval over seeds; one seed has no interval.",
        "Bold where the interval is wholly below all others of the column.",
    ]
    if table.baseline is not None:
        sentences.append(
            f"Less {table.baseline}: mean difference, task by task, ± 95 % t interval over tasks."
        )
    if "learner.steps" in table.paths:
        sentences.append("K: inner steps in training.")
    return " ".join(sentences)


def heading(table: Table) -> list[str]:
    """Return the names of the columns."""
    losses = ["before" if step == 0 else f"after {step}" for step in table.steps]
    compared = [] if table.baseline is None else [f"less {table.baseline}, after {table.last}"]
    return [*table.names, "n", *losses, *compared, "ms / iteration", "learned"]


def cells(table: Table, escape: Style, bold: Style) -> list[list[str]]:
    """Return the text of each row; what comes from configurations is escaped, the best in bold."""
    return [_texts(row, table.baseline is not None, escape, bold) for row in table.rows]


def markdown(table: Table) -> str:
    """Return a Markdown table."""
    names = [in_markdown(name) for name in heading(table)]
    aligned = ["---"] * len(table.names) + ["--:"] * (len(names) - len(table.names))
    lines = [names, aligned, *cells(table, in_markdown, lambda text: f"**{text}**")]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def terminal(table: Table) -> rich.table.Table:
    """Return a table for the terminal."""

    def escape(text: str) -> str:
        return rich.markup.escape(clean(text))

    shown = rich.table.Table(
        title=escape(title(table)),
        caption=escape(caption(table)),
        title_justify="left",
        caption_justify="left",
    )
    for index, name in enumerate(heading(table)):
        shown.add_column(escape(name), justify="left" if index < len(table.names) else "right", no_wrap=True)
    for line in cells(table, escape, lambda text: f"[bold]{text}[/]"):
        shown.add_row(*line)
    return shown


def comma_separated(table: Table) -> str:
    """Return CSV of numbers that are not rounded, half widths of intervals in columns of their own."""
    doubled = [
        part
        for name in heading(table)
        for part in ([name, f"{name} ±"] if name.startswith(("before", "after", "less")) else [name])
    ]
    lines = [
        [
            *map(in_spreadsheet, row.cells),
            len(row.group.runs),
            *(number for loss in row.losses for number in _numbers(loss, row.group.missing)),
            *(_numbers(row.difference, "") if table.baseline is not None else ()),
            _milliseconds(row.group),
            row.group.first.meta_parameters,
        ]
        for row in table.rows
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[*map(in_spreadsheet, doubled)], *lines])
    return text.getvalue()


def hypertext(table: Table) -> str:
    """Return a table in HTML."""

    def line(texts: list[str], tag: str) -> str:
        places = [' class="setting"'] * len(table.names) + [""] * (len(texts) - len(table.names))
        return "".join(f"<{tag}{place}>{text}</{tag}>" for place, text in zip(places, texts, strict=True))

    def escape(text: str) -> str:
        return html.escape(clean(text))

    names = line([escape(name) for name in heading(table)], "th")
    rows = [line(texts, "td") for texts in cells(table, escape, lambda text: f"<b>{text}</b>")]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{names}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def in_markdown(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(clean(text).split()))


def in_spreadsheet(text: str) -> str:
    """Return text that a spreadsheet takes for text: one that begins like a formula gets a quotation mark."""
    text = clean(text)
    return (
        f"'{text}"
        if re.match(r"[=+\-@\t\r]", text) and not re.fullmatch(r"-|[+-]?[\d.]+(e[+-]?\d+)?", text)
        else text
    )


def _texts(row: Row, compared: bool, escape: Style, bold: Style) -> list[str]:
    losses = [
        row.group.missing if loss is None else bold(str(loss)) if best else str(loss)
        for loss, best in zip(row.losses, row.best, strict=True)
    ]
    return [
        *map(escape, row.cells),
        str(len(row.group.runs)),
        *losses,
        *(["-" if row.difference is None else str(row.difference)] if compared else []),
        f"{_milliseconds(row.group):.2f}",
        f"{row.group.first.meta_parameters:.0f}",
    ]


def _numbers(value: Value | None, missing: str) -> tuple[float | str, float | str]:
    if value is None:
        return missing, ""
    return value.mean, "" if math.isnan(value.half) else value.half


def _milliseconds(group: Group) -> float:
    return float(np.median([run.milliseconds for run in group.runs]))

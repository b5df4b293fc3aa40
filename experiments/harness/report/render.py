"""A table of a report as Markdown, LaTeX, CSV and for the terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

import numpy as np
import pandas as pd
import rich.markup
import rich.table

from ..console import clean
from .table import Table

Style = Callable[[str], str]

LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
LATEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}

ENDINGS = {"mean": "", "half": " ±", "median": ", median", "diverged": ", diverged"}
"""Endings of the names of a step's columns in CSV."""

HEADING = 18
"""Characters of a line of a heading in the terminal."""


def title(table: Table) -> str:
    """Return the title: task, metric, evaluation tasks and iterations of training."""
    run = table.first
    iterations = sorted(table.runs["iterations"].unique())
    trained = " or ".join(f"{each:,.0f}".replace(",", " ") for each in iterations)
    return (
        f"{table.setting}: {run['metric']} on {run['tasks']:.0f} held-out tasks (list {run['tasks_hash']}) "
        f"before and after inner steps, {trained} iterations of training"
    )


def caption(table: Table) -> str:
    """Return the explanation of the columns."""
    sentences = [
        "Losses: mean over n seeds ± 95 % t interval over seeds; one seed has no interval.",
        "Bold where the interval is wholly below all others of the column.",
        "Median: over tasks, mean over seeds.",
        "Diverged: fraction of tasks, of all seeds, whose loss is not finite or above ten times the largest "
        "before adapting.",
    ]
    if table.baseline is not None:
        sentences.append(
            f"Minus {table.baseline}: mean difference ± 95 % t interval. Over tasks, each averaged over "
            "seeds: uncertainty due to the choice of tasks. Over the seeds that both have, each averaged "
            "over tasks: uncertainty due to the choice of seeds."
        )
    if "learner.steps" in table.paths:
        sentences.append("K: inner steps in training.")
    return " ".join(sentences)


def texts(table: Table, escape: Style, bold: Style) -> pd.DataFrame:
    """Return the text of each cell; texts of configurations are escaped, and the best value is bold."""
    numbers, rows, last = table.numbers, table.rows, table.steps[-1]
    shown = {escape(name): table.cells[name].map(escape) for name in table.cells}
    shown["n"] = rows["n"].astype(str)
    missing = rows["diverged_at"].map(lambda step: "-" if np.isnan(step) else f"diverged at {step:.0f}")
    for step in table.steps:
        losses = _values(numbers["mean"][step], numbers["half"][step])
        losses = losses.where(~table.best[step], losses.map(bold))
        shown[_after(step)] = losses.where(numbers["mean"][step].notna(), missing)
    shown[f"median, {_after(last)}"] = _values(numbers["median"][last])
    shown[f"diverged, {_after(last)}"] = numbers["diverged"][last].map(_percent)
    for over in ("tasks", "seeds") if table.baseline is not None else ():
        values = table.differences[over]
        heading = f"{escape(_minus(table))}, {_after(last)}, ± over {over}"
        shown[heading] = _values(values["mean"], values["half"])
    shown["ms / iteration"] = rows["milliseconds"].map("{:.2f}".format)
    shown["learned"] = rows["parameters"].map("{:.0f}".format)
    return pd.DataFrame(shown)


def comma_separated(table: Table) -> str:
    """Return CSV with all digits, and half widths of intervals in separate columns."""
    shown = {in_spreadsheet(name): table.cells[name].map(in_spreadsheet) for name in table.cells}
    shown["n"] = table.rows["n"]
    for step in table.steps:
        for name, ending in ENDINGS.items():
            shown[f"{_after(step)}{ending}"] = table.numbers[name][step]
    for over, name in table.differences if table.baseline is not None else ():
        heading = f"{_minus(table)}, {_after(table.steps[-1])}, over {over}{' ±' if name == 'half' else ''}"
        shown[in_spreadsheet(heading)] = table.differences[over][name]
    shown["diverged at"] = table.rows["diverged_at"]
    shown["ms / iteration"] = table.rows["milliseconds"]
    shown["learned"] = table.rows["parameters"]
    return pd.DataFrame(shown).to_csv(index=False)


def markdown(table: Table) -> str:
    """Return a Markdown table."""
    shown = texts(table, in_markdown, lambda text: f"**{text}**")
    settings = len(table.cells.columns)
    aligned = ["---"] * settings + ["--:"] * (len(shown.columns) - settings)
    return "".join(f"| {' | '.join(line)} |\n" for line in (shown.columns, aligned, *shown.to_numpy()))


def latex(table: Table) -> str:
    """Return a LaTeX table, for the package booktabs."""

    def ours(text: str) -> str:
        return text.replace("±", LATEX["±"]).replace(" %", r"\,\%")

    shown = texts(table, in_latex, lambda text: f"\\textbf{{{text}}}").map(ours).rename(columns=ours)
    settings = len(table.cells.columns)
    aligned = "l" * settings + "r" * (len(shown.columns) - settings)
    return shown.to_latex(index=False, column_format=aligned)


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
    lines = texts(table, escape, lambda text: f"[bold]{text}[/]")
    for index, name in enumerate(lines):
        aligned = "left" if index < len(table.cells.columns) else "right"
        shown.add_column(textwrap.fill(name, HEADING, break_long_words=False), justify=aligned, no_wrap=True)  # type: ignore[arg-type]
    for line in lines.to_numpy():
        shown.add_row(*line)
    return shown


def in_markdown(text: str) -> str:
    """Return text that Markdown shows literally."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(clean(text).split()))


def in_latex(text: str) -> str:
    """Return text that LaTeX shows literally."""
    return "".join(LATEX.get(sign, sign) for sign in " ".join(clean(text).split()))


def in_spreadsheet(text: str) -> str:
    """Return text that a spreadsheet does not interpret: a beginning like that of a formula is quoted."""
    text = clean(text)
    return (
        f"'{text}"
        if re.match(r"[=+\-@\t\r]", text) and not re.fullmatch(r"-|[+-]?[\d.]+(e[+-]?\d+)?", text)
        else text
    )


def _after(step: int) -> str:
    return "before" if step == 0 else f"after {step}"


def _minus(table: Table) -> str:
    return f"minus {table.baseline}"


def _values(mean: pd.Series, half: pd.Series | None = None) -> pd.Series:
    """Return numbers with their half widths, if any; small numbers have one more digit."""

    def text(mean: float, half: float) -> str:
        digits = 4 if abs(mean) < 0.1 else 3
        interval = f" ± {half:.{digits}f}" if half >= 0 else ""
        return "-" if np.isnan(mean) else f"{mean:.{digits}f}{interval}"

    return mean.combine(mean * np.nan if half is None else half, text)


def _percent(fraction: float) -> str:
    return "-" if np.isnan(fraction) else f"{100 * fraction:.3g} %"

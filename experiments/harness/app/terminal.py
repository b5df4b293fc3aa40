"""The output in the terminal: the configuration, a live bar, tables; plain lines if it is piped to a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import metalearn as ml

from ..console import cell, console

LINES_WHEN_PIPED = 10

ALL_SHOWN = 20
"""The most inner steps for which a table has all rows; beyond, it has rows for 1, 2, 5, 10, 20, 50, ..."""

LARGE = 1e5
"""The smallest loss that is shown by its magnitude."""


ANSWERED = {
    "all": "all queries of a task predicted together",
    "class": "queries predicted one class at a time",
    1: "queries predicted one at a time",
}


def brief(config: dict[str, Any], trainer: ml.MetaTrainer, place: str) -> None:
    """Print the configuration of a run in brief, with the program that has been built, and its folder."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    learner = ("problem",) if config.get("problem") else ("model", "rule", "estimator", "learner")
    for section in ("task", *learner, "optimizer", "training"):
        table.add_row(cell(section, "bold"), cell(_described(config[section])))
    number = os.environ.get("TF_NUM_INTRAOP_THREADS", "0")
    threads = {"0": "threads on all cores", "1": "one thread an operation"}.get(number, f"{number} threads")
    compiler = "XLA" if trainer.jit_compile else "TensorFlow's graphs"
    table.add_row("[bold]program", f"tasks {trainer.mapping}, compiled with {compiler}, {threads}")
    table.add_row("[bold]seed", str(config["seed"]))
    table.add_row("[bold]run", cell(place))
    console.print(table)


def _described(section: dict[str, Any]) -> str:
    """Return an object, and the objects among its settings, as calls, without settings that are null."""
    values = {key: value for key, value in section.items() if value is not None}
    name = str(values.pop("_target_", "")).rpartition(".")[2]
    shown = {key: _described(value) if isinstance(value, dict) else value for key, value in values.items()}
    return f"{name}({', '.join(f'{key}={value}' for key, value in shown.items())})"


ATTACKED = "@"
"""Separator of a metric of attacked queries and the radius of the attack."""


def evaluation_table(
    evaluation: ml.Evaluation,
    metric: str,
    title: str,
    statistics: str | None = None,
    rule: dict[str, Any] | None = None,
) -> Table:
    """Return the table of query loss and metrics after each number of inner steps, with 95 % intervals.

    If tasks diverged, their fraction is a column. If there are many steps, only some have a row. The lines
    below the table are the statistics of batch normalisation, metrics of attacked queries (``name@radius``)
    after the last step, and settings of the inner rule that differ from those in training.
    """
    table = Table(title=title, title_justify="left", caption_justify="left")
    tasks = f"{evaluation.num_tasks} held-out tasks (list {evaluation.tasks_hash})"
    caption = f"mean over {tasks} ± 95 % interval"
    if statistics is not None or evaluation.queries_at_once != "all":
        caption += f"\n{ANSWERED.get(evaluation.queries_at_once, 'queries predicted {} at a time')}"
        caption = caption.format(evaluation.queries_at_once)
    if statistics is not None:
        caption += f", batch normalisation by statistics={statistics}"
    if rule:
        caption += f"\nevaluated with the inner rule changed: {_described(rule)[1:-1]}"
    for name, curve in evaluation.metrics.items():
        if ATTACKED in name:
            caption += f"\n{name}: {_shown(curve.mean)[-1]} ± {_shown(curve.ci95)[-1]}"
    table.caption = cell(caption)
    table.add_column("inner steps", justify="right")
    columns = [(metric.upper(), _shown(evaluation.mean)), ("± 95 %", _shown(evaluation.ci95))]
    columns.append(("median", _shown(evaluation.median)))
    if evaluation.diverged.any():
        columns.append(("diverged", [f"{100 * fraction:.3g} %" for fraction in evaluation.diverged]))
    plain = {name: curve for name, curve in evaluation.metrics.items() if ATTACKED not in name}
    for name, curve in plain.items():
        columns += [(name, _shown(curve.mean)), ("± 95 %", _shown(curve.ci95))]
    for heading, _ in columns:
        table.add_column(cell(heading), justify="right")
    for step, *row in zip(evaluation.steps, *(values for _, values in columns), strict=True):
        if len(evaluation.steps) <= ALL_SHOWN + 1 or _is_shown(step, evaluation.steps[-1]):
            table.add_row(str(step), *row)
    return table


def _is_shown(step: int, last: int) -> bool:
    return step in (0, last) or str(step).rstrip("0") in ("1", "2", "5")


def _shown(values: np.ndarray) -> list[str]:
    """Return numbers with four decimals, and large ones, of tasks that diverge, by their magnitude."""
    texts = (f"{value:.4f}" if abs(value) < LARGE else f"{value:.1e}" for value in values)
    return [text if np.isfinite(value) else "-" for text, value in zip(texts, values, strict=True)]


@contextmanager
def bar(done: int, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show a live progress bar of meta-training; in a pipe, print a line after each tenth of the iterations.

    It yields a function of the number of finished iterations and a status text.
    """
    columns = BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn("{task.fields[status]}")
    next_line, lines_apart = done, max(1, (total - done) // LINES_WHEN_PIPED)
    with Progress(
        *(TextColumn("meta-training"), *columns, TimeRemainingColumn()),
        console=console,
        disable=not console.is_terminal or console.quiet,
    ) as shown:
        task = shown.add_task("", total=total, completed=done, status="compiling")

        def advance(done: int, status: str) -> None:
            nonlocal next_line
            shown.update(task, completed=done, status=status)
            if not console.is_terminal and (done >= next_line or done == total):
                console.print(f"iteration {done}/{total}  {status}")
                next_line = done + lines_apart

        yield advance

"""A report over runs: a table in the terminal, as CSV and as Markdown, and a figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from experiments.harness import figures, marked
from experiments.harness.files import write_atomically
from experiments.harness.report.figure import comparison
from experiments.harness.report.runs import Failure, Group, Run, collect, comparable
from experiments.harness.report.table import header, markdown, rows
from experiments.harness.results import references
from experiments.harness.terminal import print_table, say

MARK = "report"

WIDTH = 170
"""Of the table, in characters, at least: numbers are not cut where lines are short."""


def report(folder: Path, baseline: str, write: str | None) -> int:
    """Print a table for each list of evaluation tasks, write CSV and figures, return the exit code, 0.

    Raises:
        UsageError: if there are no runs, or the file ``write`` has no place for the tables.
    """
    if write is not None:
        marked.require_place(Path(write), MARK)
    found = collect(folder)
    place, texts, stems = folder / "report", [], set[str]()
    place.mkdir(exist_ok=True)
    for same_tasks in comparable(found.groups):
        title = _title(same_tasks)
        names, cells = header(same_tasks, baseline), rows(same_tasks, baseline)
        print_table(_terminal(title, names, cells), WIDTH)
        run = same_tasks[0].first
        stem = f"{run.name}_{run.shots}_shot"
        if stem in stems:  # another list of tasks
            stem += f"_{run.tasks_hash}"
        stems.add(stem)
        _write_csv(place / f"{stem}.csv", names, cells)
        figures.save(comparison(same_tasks, references(run.config)), place / f"{stem}.png")
        texts.append(f"{title}:\n\n{markdown(names, cells)}{_stopped(found.failures, run)}")
    for path, reason in found.left_out.items():
        say(f"[yellow]left out[/] {path}: {reason}")
    if write is not None:
        marked.write(Path(write), MARK, "\n".join(texts))
        say(f"tables written to {write}")
    say(f"kept in {place}")
    return 0


def _title(groups: Sequence[Group]) -> str:
    run = groups[0].first
    iterations = sorted({group.first.iterations for group in groups})
    trained = " or ".join(f"{each:,}".replace(",", " ") for each in iterations)
    return (
        f"{run.name}, {run.shots}-shot: {run.metric} on {len(run.per_task)} fresh tasks (list "
        f"{run.tasks_hash}) before and after inner steps, {trained} iterations of training with K of them; "
        "mean over seeds ± 95 % over tasks"
    )


def _stopped(failures: Sequence[Failure], like: Run) -> str:
    """Say which runs of the same experiment and shots stopped in training."""
    iterations: dict[tuple[str, int], list[int]] = {}
    for failure in failures:
        if (failure.name, failure.shots) == (like.name, like.shots):
            iterations.setdefault((failure.label, failure.steps), []).append(failure.iteration)
    each = [
        f"{label} with K = {steps} (at iteration {', '.join(map(str, sorted(stopped)))})"
        for (label, steps), stopped in sorted(iterations.items())
    ]
    return f"\nStopped in training, as something was not finite: {'; '.join(each)}.\n" if each else ""


def _terminal(title: str, names: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(names):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for line in cells:
        table.add_row(*line)
    return table


def _write_csv(path: Path, names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([names, *cells])
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))

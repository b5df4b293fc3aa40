"""A report over runs: tables in the terminal, as CSV, Markdown and HTML, with figures."""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..config import marked
from ..console import print_table, say
from ..errors import BAD_INPUT
from ..figures import drawing as figures
from ..invocation import command
from ..runs import rundir
from ..runs.files import make_plain_folder, write_atomically
from ..session.results import references
from . import curves, render
from .figure import comparison
from .grid import grid
from .heatmap import heat_map
from .missing import belonging, listing
from .page import Picture, Section, page
from .runs import Collection, Unused, collect, comparable
from .table import Table, tabulate

MARK = "report"

WIDTH = 170
"""Of the table, in characters, at least: numbers are not cut where lines are short."""


def report(folder: Path, baseline: str, write: str | None, packages: Sequence[str] = ()) -> int:
    """Print a table for each list of evaluation tasks, write CSV, figures and page, return the exit code.

    It is 0; or 2 where runs were left out, for they name code of packages that are not trusted.

    Raises:
        UsageError: if there are no runs, or the file ``write`` has no place for the tables.
    """
    if write is not None:
        marked.require_place(Path(write), MARK)
    found = collect(folder, packages)
    place = folder / "report"
    make_plain_folder(place)
    sections, texts = [], []
    elsewhere = list(found.unused)
    tables = [tabulate(groups, baseline) for groups in comparable(found.groups)]
    for table, stem in zip(tables, _stems(tables), strict=True):
        unused = belonging(table, elsewhere)
        elsewhere = [run for run in elsewhere if run not in unused]
        absent = listing(table, unused)
        print_table(render.terminal(table), WIDTH)
        for line in absent:
            say(line, "not in the table:", "yellow")
        _write(place / f"{stem}.csv", render.comma_separated(table))
        pictures = _draw(table, place, stem)
        title, caption = render.title(table), render.caption(table)
        sections.append(Section(title, render.hypertext(table), caption, absent, pictures))
        texts.append(_markdown(table, absent))
    _write(place / "index.html", _page(folder, found, sections, elsewhere))
    for run in found.unused:
        say(f"{run.path}: {run.reason}", "left out", "yellow")
    if write is not None:
        marked.write(Path(write), MARK, "\n".join(texts))
        say(f"tables written to {write}")
    say(f"kept in {place}; all of it on one page: {place / 'index.html'}")
    return BAD_INPUT if any(run.untrusted for run in found.unused) else 0


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))


def _stems(tables: Sequence[Table]) -> list[str]:
    """Return names of files, of characters that every disk takes, and unlike each other."""
    runs = [table.rows[0].group.first for table in tables]
    stems = [
        re.sub(r"[^\w-]", "_", run.name if run.shots is None else f"{run.name}_{run.shots}_shot")
        for run in runs
    ]
    numbers = [stems[:index].count(stem) for index, stem in enumerate(stems)]
    return [f"{stem}_{number + 1}" if number else stem for stem, number in zip(stems, numbers, strict=True)]


def _draw(table: Table, place: Path, stem: str) -> list[Picture]:
    """Draw the figures of a table and return where they are."""
    run, cells = table.rows[0].group.first, grid(table)
    drawn = {
        "": (
            comparison(table, references(run.config)),
            "Final losses with 95 % t intervals over seeds, best at the top.",
        ),
        "_loss_by_step": (curves.loss_by_step(table), "Loss against inner steps: mean and range over seeds."),
        "_learning_curves": (
            curves.learning_curves(table),
            "Loss on the tasks of training: mean and range over seeds of medians of windows, in which "
            "a single iteration that explodes does not show.",
        ),
    }
    if cells is not None:
        drawn["_heat_map"] = heat_map(table, cells), f"Loss after {table.last} steps by the two that vary."
    pictures = [Picture(place / f"{stem}{ending}.png", caption) for ending, (_, caption) in drawn.items()]
    for picture, (figure, _) in zip(pictures, drawn.values(), strict=True):
        figures.save(figure, picture.path)
    return pictures


def _markdown(table: Table, absent: Sequence[str]) -> str:
    shown, caption = render.in_markdown(render.title(table)), render.in_markdown(render.caption(table))
    text = f"{shown}.\n\n{render.markdown(table)}\n{caption}\n"
    lines = "".join(f"- {render.in_markdown(line)}\n" for line in absent)
    return text + (f"\nNot in these numbers:\n\n{lines}" if lines else "")


def _page(folder: Path, found: Collection, sections: Sequence[Section], elsewhere: Sequence[Unused]) -> str:
    versions = collections.Counter(run.versions for group in found.groups for run in group.runs)
    finished = versions.total()
    made = {
        "Made by": command(),
        "At": rundir.now(),
        "Runs": f"{finished} finished, {len(found.unused)} others",
        **{f"Versions of {count} runs": text for text, count in versions.items() if text},
    }
    lines = [f"{os.path.relpath(run.path, folder)}: {run.reason}" for run in elsewhere]
    return page(f"Runs in {folder.resolve().name}", sections, lines, made)

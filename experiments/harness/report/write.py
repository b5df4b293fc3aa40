"""A report over runs: tables in the terminal, as CSV, Markdown, LaTeX and HTML, with figures."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ..config import marked
from ..console import print_table, say
from ..errors import BAD_INPUT
from ..figures import drawing as figures
from ..invocation import command
from ..runs import rundir
from ..runs.files import make_plain_folder, write_bytes
from ..runs.rundir import RunDirectory
from ..session.pictures import references
from ..sweeps.collection import Collection, collect
from . import curves, missing, render
from .comparison import comparison
from .grid import grid
from .heatmap import heat_map
from .page import Picture, Section, bold, page
from .panels import readable
from .table import Table, tables

MARK = "report"

WIDTH = 200
"""Smallest number of characters of a line of the table, so that a narrow terminal does not cut numbers."""

LONGEST = 60
"""Largest number of characters of a table in the names of files, to which those of figures are added."""


def report(
    folder: Path,
    baseline: str,
    write: str | None,
    packages: Sequence[str] = (),
    formats: Sequence[str] = ("png", "svg"),
) -> int:
    """Print a table for each list of evaluation tasks, write tables, figures and page, return the exit code.

    The exit code is 2 if runs were omitted because they name code of packages that are not trusted, else 0.

    Raises:
        UsageError: if there are no runs, or the file ``write`` has no place for the tables.
    """
    if write is not None:
        marked.require_place(Path(write), MARK)
    found = collect(folder, packages)
    place = folder / "report"
    make_plain_folder(place)
    sections, texts, elsewhere = [], [], found.runs[found.runs["reason"] != ""]
    shown = tables(found, baseline)
    for table, stem in zip(shown, _stems(shown), strict=True):
        absent = missing.listing(table, found)
        elsewhere = elsewhere.drop(missing.belonging(table, found).index, errors="ignore")
        print_table(render.terminal(table), WIDTH)
        for line in absent:
            say(line, "not in the table:", "yellow")
        for ending, write_as in {"csv": render.comma_separated, "tex": render.latex}.items():
            write_bytes(place / f"{stem}.{ending}", write_as(table).encode())
        pictures = _draw(table, place, stem, formats)
        say(readable(table)[1], f"figures of {stem}:") if readable(table)[1] else None
        title, caption = render.title(table), render.caption(table)
        cells = render.texts(table, str, bold)
        sections.append(Section(title, cells, len(table.cells.columns), caption, absent, pictures))
        texts.append(_markdown(table, absent))
    write_bytes(place / "index.html", _page(folder, found, sections, elsewhere).encode())
    for path, reason in zip(elsewhere["path"], elsewhere["reason"], strict=True):
        say(f"{path}: {reason}", "left out", "yellow")
    if write is not None:
        marked.write(Path(write), MARK, "\n".join(texts))
        say(f"tables written to {write}")
    say(f"kept in {place}; all of it on one page: {place / 'index.html'}")
    return BAD_INPUT if found.runs["untrusted"].any() else 0


def _stems(shown: Sequence[Table]) -> list[str]:
    """Return different names of files, of a length and with characters that every file system accepts."""
    settings = [table.setting.replace(", ", "_").replace("-shot", "_shot") for table in shown]
    stems = [re.sub(r"[^\w-]", "_", setting)[:LONGEST] for setting in settings]
    numbers = [stems[:index].count(stem) for index, stem in enumerate(stems)]
    return [f"{stem}_{number + 1}" if number else stem for stem, number in zip(stems, numbers, strict=True)]


def _draw(table: Table, place: Path, stem: str, formats: Sequence[str]) -> list[Picture]:
    """Draw the figures of a table, write them in each format, and return them."""
    config, _ = rundir.read(RunDirectory(Path(table.first["path"])))
    cells = grid(table)
    drawn: dict[str, tuple[Figure, str]] = {
        "": (
            comparison(table, references(config)),
            "Final losses, best at the top; bars: 95 % t intervals over seeds, with arrows beyond the axis.",
        ),
        "_loss_by_step": (
            curves.loss_by_step(table),
            "Loss against inner steps: mean and range over seeds, with triangles beyond the axis.",
        ),
        "_learning_curves": (
            curves.learning_curves(table),
            "Loss on training tasks: mean and range over seeds of medians over windows of iterations, "
            "which single iterations with large losses do not affect.",
        ),
    }
    if cells is not None:
        drawn["_heat_map"] = (
            heat_map(table, cells),
            f"Loss after {table.steps[-1]} steps by the two settings that vary.",
        )
    pictures = []
    for ending, (figure, text) in drawn.items():
        files = figures.save(figure, place / f"{stem}{ending}", formats)
        left = "" if ending == "_heat_map" else readable(table)[1]
        svg = files.get("svg") or figures.render(figure, "svg")
        pictures.append(Picture(svg, f"{text} {left}".strip()))
    return pictures


def _markdown(table: Table, absent: Sequence[str]) -> str:
    shown, caption = render.in_markdown(render.title(table)), render.in_markdown(render.caption(table))
    text = f"{shown}.\n\n{render.markdown(table)}\n{caption}\n"
    lines = "".join(f"- {render.in_markdown(line)}\n" for line in absent)
    return text + (f"\nNot included in these numbers:\n\n{lines}" if lines else "")


def _page(folder: Path, found: Collection, sections: Sequence[Section], elsewhere: pd.DataFrame) -> str:
    used = found.runs[found.runs["reason"] == ""]
    versions = collections.Counter(used["versions"])
    made = {
        "Made by": command(),
        "At": rundir.now(),
        "Runs": f"{len(used)} finished, {len(found.runs) - len(used)} others",
        **{f"Versions of {count} runs": text for text, count in versions.items() if text},
    }
    lines = [f"{path}: {reason}" for path, reason in elsewhere["reason"].items()]
    return page(f"Runs in {folder.resolve().name}", sections, lines, made)

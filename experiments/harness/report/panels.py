"""Lines with bands that can be distinguished: by colour if there are few, by panel if there are many."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..figures.axes import BLUE, LEGEND, MARKERS, log_scale, look, mark_leaving, plain, tidy
from .table import Table

MOST_TOGETHER = 8
"""Largest number of lines in one panel."""

MOST = 24
"""Largest number of configurations in a figure, in addition to the baseline."""

COLUMNS, WRAPPED = 5, 26
"""Largest number of columns of panels, and of characters in a line of their titles."""

LONGEST = 60
"""Largest number of characters of a name."""

BEHIND = "#C4C4C4"


class Line(NamedTuple):
    """A curve with a band.

    Attributes:
        name: the name of the configuration.
        x: ``[N]``.
        seeds: a curve for each of the seeds, ``[n, N]``; the line is their mean, the band their range.
    """

    name: str
    x: np.ndarray
    seeds: np.ndarray


def readable(table: Table) -> tuple[list[str], str]:
    """Return the configurations in the figures, the best and the baseline, and a text on the others."""
    titles = table.rows["title"]
    best = list(titles.index[:MOST])
    best += [each for each in titles.index[titles == table.baseline] if each not in best]
    left = len(titles) - len(best)
    return best, f"The best of {len(titles)} configurations; {left} are left out." if left else ""


def short(name: str) -> str:
    """Return a name, shortened to :data:`LONGEST` characters."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def draw(lines: Sequence[Line], title: str, x: str, y: str, marked: bool = False) -> Figure:
    """Draw lines over a logarithmic axis; many lines have a panel each, with the others behind in grey.

    If a band exceeds the axis, this is marked at its edge.

    Args:
        lines: the curves in the order of the legend or the panels.
        title: the title of the figure.
        x: the label of the horizontal axis.
        y: the label of the vertical axis.
        marked: whether points have markers.
    """
    means = [line.seeds.mean(0) for line in lines]
    ceiling = 10 * max((mean[0] for mean in means if len(mean) and np.isfinite(mean[0])), default=np.inf)
    few = len(lines) <= MOST_TOGETHER
    figure, panels = (_together if few else _apart)(lines, plain(title), x, y, marked)
    log_scale(panels[0], [line.seeds.ravel() for line in lines], ceiling)
    if not few:
        panels[0].minorticks_off()
    for index, (panel, line) in enumerate(zip(panels, lines, strict=True)):
        color = look(index)["color"] if few else BLUE
        mark_leaving(panel, line.x, line.seeds.min(0), line.seeds.max(0), color)
    return figure


def _together(lines: Sequence[Line], title: str, x: str, y: str, marked: bool) -> tuple[Figure, list[Axes]]:
    figure = Figure((8.4, 5.2), layout="constrained")
    axes = figure.subplots()
    for index, line in enumerate(lines):
        _draw_line(axes, line, MARKERS[index % len(MARKERS)] if marked else "", **look(index))
    tidy(axes, title, x, y)
    names = [plain(short(line.name)) for line in lines]
    figure.legend(axes.lines, names, loc="outside lower center", ncols=2, **LEGEND)
    return figure, [axes] * len(lines)


def _apart(lines: Sequence[Line], title: str, x: str, y: str, marked: bool) -> tuple[Figure, list[Axes]]:
    """Place panels at fixed positions, because an automatic layout takes ten times as long."""
    names = [_wrapped(plain(short(line.name))) for line in lines]
    rows, lost = -(-len(lines) // COLUMNS), 0.17 * (1 + max(name.count("\n") for name in names))
    above = 0.35 + 0.22 * title.count("\n")
    width, height = 11.0, 0.95 + above + (1.55 + lost) * rows
    figure = Figure((width, height))
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, line, name in zip(panels, lines, names, strict=False):
        for other in lines:
            if other is not line:
                panel.plot(other.x, other.seeds.mean(0), color=BEHIND, linewidth=0.7)
        _draw_line(panel, line, MARKERS[0] if marked else "", color=BLUE)
        tidy(panel)
        panel.set_title(name, fontsize=10)
    for panel in panels[len(lines) :]:
        panel.set_visible(False)
    for panel in panels[len(lines) - COLUMNS : len(lines)]:
        panel.tick_params(labelbottom=True)
    panels[0].xaxis.set_major_locator(MaxNLocator(3, integer=True))
    top, bottom = 1 - (above + lost) / height, 0.6 / height
    figure.subplots_adjust(0.85 / width, bottom, 1 - 0.15 / width, top, 0.12, 0.1 + lost / 1.4)
    figure.suptitle(title, fontsize=13, y=1 - 0.08 / height, va="top")
    figure.supxlabel(x, fontsize=11, y=0.08 / height)
    figure.supylabel(y, fontsize=11, x=0.1 / width)
    return figure, [*panels[: len(lines)]]


def _wrapped(name: str) -> str:
    """Return a name in several lines, each with a setting and its value, or one of them if both are long."""
    parts = name.split(", ")
    unbroken = [part.replace(" ", "\u00a0") if len(part) < WRAPPED else part for part in parts]
    return textwrap.fill(", ".join(unbroken), WRAPPED, break_long_words=False)


def _draw_line(axes: Axes, line: Line, marker: str, **style: Any) -> None:
    axes.plot(line.x, line.seeds.mean(0), marker=marker, markersize=4, linewidth=1.8, **style)
    if len(line.seeds) > 1:
        low, high = line.seeds.min(0), line.seeds.max(0)
        axes.fill_between(line.x, low, high, color=style["color"], alpha=0.25, linewidth=0)

"""Lines with bands that can be told apart: a colour each where they are few, a panel where they are many."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..figures.axes import log_scale, tidy
from ..figures.drawing import BLUE, CYCLE, LEGEND, MARKERS, STYLES

MOST_TOGETHER = 8
"""Lines in one panel."""

COLUMNS, WRAPPED = 5, 26
"""Of panels; of their titles, in characters."""

LONGEST = 60
"""Of a name, in characters."""

BEHIND = "#C4C4C4"


class Line(NamedTuple):
    """A curve with a band.

    Attributes:
        name: what it is of.
        x: ``[N]``.
        seeds: a curve for each of the seeds, ``[n, N]``; the line is their mean, the band their range.
    """

    name: str
    x: np.ndarray
    seeds: np.ndarray


def plain(text: str) -> str:
    """Return text that is drawn as it is: without formulas, and in a legend whatever it begins with."""
    return (f" {text}" if text.startswith("_") else text).replace("$", r"\$")


def short(name: str) -> str:
    """Return a name of a length that leaves room for what it names."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def draw(lines: Sequence[Line], title: str, x: str, y: str, marked: bool = False) -> Figure:
    """Draw lines over a logarithmic axis, those of many each in a panel with the others behind it in grey.

    Args:
        lines: in the order of the legend or the panels.
        title: of the figure.
        x: what is on the axis.
        y: the same.
        marked: whether points get a mark.
    """
    means = [line.seeds.mean(0) for line in lines]
    ceiling = 10 * max((mean[0] for mean in means if len(mean) and np.isfinite(mean[0])), default=np.inf)
    few = len(lines) <= MOST_TOGETHER
    figure, axes = (_together if few else _apart)(lines, plain(title), x, y, marked)
    log_scale(axes, [line.seeds.ravel() for line in lines], ceiling)
    if not few:
        axes.minorticks_off()
    return figure


def _together(lines: Sequence[Line], title: str, x: str, y: str, marked: bool) -> tuple[Figure, Axes]:
    figure = Figure((8.4, 5.2), layout="constrained")
    axes = figure.subplots()
    for index, line in enumerate(lines):
        style = {"color": CYCLE[index % len(CYCLE)], "linestyle": STYLES[index // len(CYCLE)]}
        _draw_line(axes, line, MARKERS[index % len(MARKERS)] if marked else "", **style)
    tidy(axes, title, x, y)
    names = [plain(short(line.name)) for line in lines]
    figure.legend(axes.lines, names, loc="outside lower center", ncols=2, **LEGEND)
    return figure, axes


def _apart(lines: Sequence[Line], title: str, x: str, y: str, marked: bool) -> tuple[Figure, Axes]:
    """Place panels by hand: a layout that asks each of them for its size takes ten times as long."""
    unbroken = [plain(short(line.name)).replace(" = ", "\u00a0=\u00a0") for line in lines]
    names = [textwrap.fill(name, WRAPPED) for name in unbroken]
    rows, lost = -(-len(lines) // COLUMNS), 0.17 * (1 + max(name.count("\n") for name in names))
    width, height = 11.0, 1.3 + (1.55 + lost) * rows
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
    top, bottom = 1 - (0.35 + lost) / height, 0.6 / height
    figure.subplots_adjust(0.85 / width, bottom, 1 - 0.15 / width, top, 0.12, 0.1 + lost / 1.4)
    figure.suptitle(title, fontsize=13, y=1 - 0.08 / height, va="top")
    figure.supxlabel(x, fontsize=11, y=0.08 / height)
    figure.supylabel(y, fontsize=11, x=0.1 / width)
    return figure, panels[0]


def _draw_line(axes: Axes, line: Line, marker: str, **style: Any) -> None:
    axes.plot(line.x, line.seeds.mean(0), marker=marker, markersize=4, linewidth=1.8, **style)
    if len(line.seeds) > 1:
        low, high = line.seeds.min(0), line.seeds.max(0)
        axes.fill_between(line.x, low, high, color=style["color"], alpha=0.25, linewidth=0)

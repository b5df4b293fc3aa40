"""Lines with bands that can be told apart: a colour each where they are few, a panel where they are many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.harness.axes import log_scale, tidy
from experiments.harness.figures import BLUE, CYCLE, LEGEND, MARKERS, STYLES

MOST_TOGETHER = 8
"""Lines in one panel."""

COLUMNS = 5

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
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return (f" {short}" if short.startswith("_") else short).replace("$", r"\$")


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
    drawn = [line.seeds.ravel() for line in lines]
    if len(lines) <= MOST_TOGETHER:
        figure = Figure((8.4, 5.2), layout="constrained")
        axes = figure.subplots()
        for index, line in enumerate(lines):
            style = {"color": CYCLE[index % len(CYCLE)], "linestyle": STYLES[index // len(CYCLE)]}
            _draw_line(axes, line, MARKERS[index % len(MARKERS)] if marked else "", **style)
        tidy(axes, plain(title), x, y)
        log_scale(axes, drawn, ceiling)
        figure.legend(axes.lines, [plain(line.name) for line in lines], loc="outside right center", **LEGEND)
        return figure
    rows = -(-len(lines) // COLUMNS)
    figure = Figure((11, 1.2 + 1.75 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, line in zip(panels, lines, strict=False):
        for other, mean in zip(lines, means, strict=True):
            if other is not line:
                panel.plot(other.x, mean, color=BEHIND, linewidth=0.7)
        _draw_line(panel, line, MARKERS[0] if marked else "", color=BLUE)
        tidy(panel)
        panel.set_title(plain(line.name), fontsize=10)
    for panel in panels[len(lines) :]:
        panel.set_visible(False)
    for panel in panels[max(len(lines) - COLUMNS, 0) : len(lines)]:
        panel.tick_params(labelbottom=True)
    log_scale(panels[0], drawn, ceiling)
    figure.suptitle(plain(title), fontsize=13)
    figure.supxlabel(x, fontsize=11)
    figure.supylabel(y, fontsize=11)
    return figure


def _draw_line(axes: Axes, line: Line, marker: str, **style: Any) -> None:
    axes.plot(line.x, line.seeds.mean(0), marker=marker, markersize=4, linewidth=1.8, **style)
    if len(line.seeds) > 1:
        low, high = line.seeds.min(0), line.seeds.max(0)
        axes.fill_between(line.x, low, high, color=style["color"], alpha=0.25, linewidth=0)

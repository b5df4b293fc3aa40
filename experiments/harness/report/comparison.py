"""Final losses: a line for each configuration, best first, and a mark for each number of inner steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ..figures.axes import GREY, ORANGE, SKY, VERMILLION, plain, tidy
from .panels import readable, short
from .table import Table

MARKS = {0: ("o", GREY), 1: ("D", SKY), 5: ("s", ORANGE), 10: ("^", VERMILLION)}
"""Markers and colours of the losses after each number of inner steps."""

OTHER = ("P", "black")

APART = 0.17
"""Vertical distance between the marks of a line, because their bars would overlap."""


def comparison(table: Table, references: Mapping[str, float]) -> Figure:
    """Draw the mean loss of each row before and after inner steps, on a logarithmic axis.

    Bars are 95 % t intervals over seeds; an arrow at the edge marks one that exceeds the axis. Steps at which
    a row has diverged are omitted, and its name says so.

    Args:
        table: of configurations that were evaluated on the same tasks.
        references: names and losses of predictors that do not adapt.
    """
    rows, others = readable(table)
    figure = Figure((8.4, 1.6 + 0.31 * len(rows)), layout="constrained")
    axes = figure.subplots()
    means, halves = (table.numbers[name].loc[rows, table.steps] for name in ("mean", "half"))
    shown = [value for value in (*means.to_numpy().ravel(), *references.values()) if value > 0] or [1.0]
    low, high = min(shown) / 1.6, 1.6 * max(shown)
    for index, step in enumerate(table.steps):
        marker, color = MARKS.get(step, OTHER)
        places = np.arange(len(rows)) + APART * (index - (len(table.steps) - 1) / 2)
        for mean, half, place in zip(means[step], halves[step], places, strict=True):
            if half >= 0:
                ends = mean - half, mean + half
                axes.plot(np.clip(ends, low, high), [place, place], color=color, linewidth=1.4)
                for edge, arrow, beyond in ((low, "<", ends[0] < low), (high, ">", ends[1] > high)):
                    if beyond:
                        axes.plot(edge, place, arrow, color=color, markersize=5, clip_on=False)
            if mean == mean:
                axes.plot(mean, place, marker, color=color, markersize=5)
    for reference in references.values():
        axes.axvline(reference, color=GREY, linestyle="--", linewidth=1, zorder=0)
    named = zip(table.rows["title"][rows], table.rows["diverged_at"][rows], strict=True)
    names = [plain(short(name) + (f" (diverges at {at:.0f})" if at >= 0 else "")) for name, at in named]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter("{x:g}")
    measured = f"{table.first['metric'].upper()}, mean over seeds and 95 % t interval"
    tidy(axes, plain(f"{table.setting}\n{others}".strip()), plain(measured))
    _explain(figure, table, references)
    return figure


def _explain(figure: Figure, table: Table, references: Mapping[str, float]) -> None:
    """Add the legend."""
    axes = figure.axes[0]
    looks = [MARKS.get(step, OTHER) for step in table.steps]
    marks = [axes.plot([], [], marker, color=color)[0] for marker, color in looks]
    labels = ["before" if step == 0 else f"after {step}" for step in table.steps]
    if references:
        marks.append(axes.plot([], [], "--", color=GREY, linewidth=1)[0])
        labels.append(", ".join(f"{name}: {loss:g}" for name, loss in references.items()))
    figure.legend(marks, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=10)

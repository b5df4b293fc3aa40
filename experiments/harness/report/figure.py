"""Final losses: a line a configuration, best at the top, and a mark for each number of inner steps."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ..figures.drawing import GREY, ORANGE, SKY, VERMILLION
from .panels import plain, short
from .table import Row, Table

MARKS = {0: ("o", GREY), 1: ("D", SKY), 5: ("s", ORANGE), 10: ("^", VERMILLION)}
"""How losses after so many inner steps are drawn."""

OTHER = ("P", "black")

APART = 0.17
"""Between the marks of a line, from above to below: their bars would cover each other."""


def comparison(table: Table, references: Mapping[str, float]) -> Figure:
    """Draw the mean loss of each row before and after inner steps, on a logarithmic axis.

    Bars are 95 % t intervals over seeds; one that reaches zero goes to the edge. Steps at which a row
    has diverged are left out, and said.

    Args:
        table: of configurations that were evaluated on the same tasks.
        references: names and losses of predictors that do not adapt.
    """
    figure = Figure((8.4, 1.6 + 0.31 * len(table.rows)), layout="constrained")
    axes = figure.subplots()
    means = [loss.mean for row in table.rows for loss in row.losses if loss is not None]
    shown = [value for value in (*means, *references.values()) if value > 0] or [1.0]
    edges = min(shown) / 1.6, 1.6 * max(shown)
    for index, step in enumerate(table.steps):
        marker, color = MARKS.get(step, OTHER)
        for line, row in enumerate(table.rows):
            loss, place = row.losses[index], line + APART * (index - (len(table.steps) - 1) / 2)
            if loss is not None and loss.half >= 0:
                bar = [max(loss.low, edges[0]), min(loss.high, edges[1])]
                axes.plot(bar, [place, place], color=color, linewidth=1.4)
            if loss is not None:
                axes.plot(loss.mean, place, marker, color=color, markersize=5)
    for reference in references.values():
        axes.axvline(reference, color=GREY, linestyle="--", linewidth=1, zorder=0)
    axes.set_yticks(range(len(table.rows)), [_name(row) for row in table.rows])
    axes.set_ylim(len(table.rows) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.set_xlim(*edges)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if edges[1] < 100 * edges[0] else (1,)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter("{x:g}")
    run = table.rows[0].group.first
    axes.set_xlabel(plain(f"{run.metric.upper()}, mean over seeds and 95 % t interval"))
    axes.set_title(plain(f"{run.setting}"), fontsize=13)
    axes.grid(axis="both", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    looks = [MARKS.get(step, OTHER) for step in table.steps]
    marks = [axes.plot([], [], marker, color=color)[0] for marker, color in looks]
    labels = ["before" if step == 0 else f"after {step}" for step in table.steps]
    if references:
        marks.append(axes.plot([], [], "--", color=GREY, linewidth=1)[0])
        labels.append(", ".join(f"{name}: {loss:g}" for name, loss in references.items()))
    figure.legend(marks, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    return figure


def _name(row: Row) -> str:
    diverged = "" if row.group.diverged is None else f" (diverges at {row.group.diverged})"
    return plain(f"{short(row.title)}{diverged}")

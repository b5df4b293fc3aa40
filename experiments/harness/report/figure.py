"""The figure of a report: a line an algorithm, a mark for each number of inner steps, best at the top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from experiments.harness.figures import GREY, ORANGE, SKY, VERMILLION
from experiments.harness.report.runs import Group
from experiments.harness.report.table import columns, mean_over_tasks

MARKS = {0: ("o", GREY), 1: ("D", SKY), 5: ("s", ORANGE), 10: ("^", VERMILLION)}
"""How losses after so many inner steps are drawn."""


def comparison(groups: Sequence[Group], references: Mapping[str, float]) -> Figure:
    """Draw the mean loss of each group before and after inner steps, on a logarithmic axis.

    Bars are 95 % intervals over tasks. Steps at which a group has diverged are left out, and said.

    Args:
        groups: evaluated on the same tasks, in the order to draw them.
        references: names and losses of predictors that do not adapt.
    """
    figure = Figure((8.4, 1.6 + 0.27 * len(groups)), layout="constrained")
    axes = figure.subplots()
    for place, group in enumerate(groups):
        for step in columns(groups):
            if group.diverged is None or step < group.diverged:
                marker, color = MARKS[step]
                mean, half = mean_over_tasks(group.per_task[:, step])
                below = min(half, 0.99 * mean)  # a logarithmic axis has no place for zero
                axes.errorbar(mean, place, xerr=[[below], [half]], fmt=marker, color=color, markersize=6)
    for loss in references.values():
        axes.axvline(loss, color=GREY, linestyle="--", linewidth=1, zorder=0)
    axes.set_yticks(range(len(groups)), [_name(group) for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    run = groups[0].first
    axes.set_xlabel(f"{run.metric.upper()}, mean over {len(run.per_task)} tasks and 95 % interval")
    axes.set_title(f"{run.name}, {run.shots}-shot", fontsize=13)
    axes.grid(axis="both", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    marks = [axes.plot([], [], MARKS[step][0], color=MARKS[step][1])[0] for step in columns(groups)]
    labels = ["before" if step == 0 else f"after {step}" for step in columns(groups)]
    if references:
        marks.append(axes.plot([], [], "--", color=GREY, linewidth=1)[0])
        labels.append(", ".join(f"{name}: {loss:g}" for name, loss in references.items()))
    figure.legend(marks, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    return figure


def _name(group: Group) -> str:
    steps = "" if group.first.steps == 1 else f", K = {group.first.steps}"
    diverged = "" if group.diverged is None else f" (diverges at {group.diverged})"
    return f"{group.first.label}{steps}{diverged}"

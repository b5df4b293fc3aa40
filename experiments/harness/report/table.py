"""The table of a report: a row a configuration, losses with intervals, differences to a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.harness.report.runs import Group

STEPS = (0, 1, 5, 10)
"""Inner steps that have a column, as far as they were evaluated."""


class Value(NamedTuple):
    """A mean over tasks and the half width of its 95 % interval, ``1.96 std / sqrt(T)``."""

    mean: float
    half: float

    def __str__(self) -> str:
        digits = 4 if abs(self.mean) < 0.1 else 3
        return f"{self.mean:.{digits}f} ± {self.half:.{digits}f}"


def mean_over_tasks(losses: np.ndarray) -> Value:
    """Return the mean of ``[T]`` with its interval."""
    return Value(float(losses.mean()), float(1.96 * losses.std(ddof=1) / np.sqrt(len(losses))))


def baseline_of(groups: Sequence[Group], label: str) -> Group | None:
    """Return the group of that label that was trained with the fewest inner steps."""
    return min(
        (group for group in groups if group.first.label == label),
        key=lambda group: group.first.steps,
        default=None,
    )


def header(groups: Sequence[Group], baseline: str) -> list[str]:
    """Return the names of the columns."""
    last = groups[0].per_task.shape[1] - 1
    losses = ["before" if step == 0 else f"after {step}" for step in columns(groups)]
    return [
        "algorithm",
        "K",
        "seeds",
        *losses,
        f"seeds, after {last}",
        f"less {baseline}, after {last}",
        "ms / iteration",
        "learned",
    ]


def rows(groups: Sequence[Group], baseline: str) -> list[list[str]]:
    """Return the cells of each group: losses up to the step at which it diverges."""
    reference = baseline_of(groups, baseline)
    return [_row(group, reference, columns(groups)) for group in groups]


def columns(groups: Sequence[Group]) -> list[int]:
    """Return the inner steps that have a column."""
    return [step for step in STEPS if step < groups[0].per_task.shape[1]]


def _row(group: Group, reference: Group | None, shown: Sequence[int]) -> list[str]:
    per_task, diverged = group.per_task, group.diverged
    last = per_task.shape[1] - 1
    ends = last if diverged is None else diverged - 1
    losses = [
        str(mean_over_tasks(per_task[:, step])) if step <= ends else f"diverged at {diverged}"
        for step in shown
    ]
    spread = difference = "-"
    if diverged is None:
        low, high = group.between_seeds(last)
        spread = f"{low:.4f} to {high:.4f}" if len(group.runs) > 1 else "-"
        if reference is not None and reference is not group and reference.diverged is None:
            difference = str(mean_over_tasks(per_task[:, last] - reference.per_task[:, last]))
    speed = np.median([run.milliseconds for run in group.runs])
    return [
        group.first.label,
        str(group.first.steps),
        str(len(group.runs)),
        *losses,
        spread,
        difference,
        f"{speed:.2f}",
        f"{group.first.meta_parameters:.0f}",
    ]


def markdown(names: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [names, ["---", *["--:"] * (len(names) - 1)], *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)

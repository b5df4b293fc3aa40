"""The table of a report: a row a configuration, losses over seeds, differences to a baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from . import columns
from .runs import Group
from .statistics import Value, estimate

STEPS = (0, 1, 5, 10)
"""Inner steps that have a column, as far as they were evaluated; the last one has too."""


class Row(NamedTuple):
    """What the table says of one configuration.

    Attributes:
        group: its runs.
        title: what it is called, unlike all others.
        cells: its settings in the columns of what varies.
        losses: by column over seeds; None from where it diverges, and where it was not evaluated.
        best: whether the loss of a column is below all others by more than chance.
        difference: to the baseline after the last step, task by task; None where there is none, or where the
            two were evaluated after other numbers of steps.
    """

    group: Group
    title: str
    cells: list[str]
    losses: list[Value | None]
    best: list[bool]
    difference: Value | None


@dataclasses.dataclass(frozen=True)
class Table:
    """Configurations that were evaluated on the same tasks, best first.

    Attributes:
        paths: settings that vary.
        names: what their columns are called.
        steps: inner steps that have a column.
        rows: never empty.
        baseline: title of the row that others are compared with, if there is one, and others.
    """

    paths: list[str]
    names: list[str]
    steps: list[int]
    rows: list[Row]
    baseline: str | None

    @property
    def last(self) -> int:
        """The last inner step."""
        return self.steps[-1]


def tabulate(groups: Sequence[Group], baseline: str) -> Table:
    """Return the table of groups that were evaluated on the same tasks.

    Args:
        groups: in the order of the rows.
        baseline: label of the group to compare with; of several, the one of the fewest inner steps.
    """
    settings = [columns.settings(group.first.config) for group in groups]
    paths = columns.varying(settings)
    last = max(group.per_task.shape[1] for group in groups) - 1
    steps = sorted({step for step in STEPS if step < last} | {last})
    losses = [[group.loss(step) for step in steps] for group in groups]
    evaluated = [sum(step < group.per_task.shape[1] for group in groups) for step in steps]
    best = np.transpose(
        [_best(column, count) for column, count in zip(zip(*losses, strict=True), evaluated, strict=True)]
    ).tolist()
    titles = columns.titles(paths, settings)
    reference = baseline_of(groups, baseline)
    differences = [difference(group, reference) for group in groups]
    cells = [columns.cells(paths, row) for row in settings]
    return Table(
        paths,
        columns.names(paths, settings),
        steps,
        [Row(*parts) for parts in zip(groups, titles, cells, losses, best, differences, strict=True)],
        titles[list(groups).index(reference)] if reference is not None and any(differences) else None,
    )


def baseline_of(groups: Sequence[Group], label: str) -> Group | None:
    """Return the first group of that label of those trained with the fewest inner steps."""
    return min(
        (group for group in groups if group.first.label == label),
        key=lambda group: group.first.steps,
        default=None,
    )


def difference(group: Group, reference: Group | None) -> Value | None:
    """Return the mean over tasks of what a group's loss after the last step is above another's.

    The interval is over tasks, each averaged over seeds: it says what other tasks would change, not
    what other seeds would.
    """
    if reference is None or reference is group or group.diverged or reference.diverged:
        return None
    own, other = group.per_task, reference.per_task
    return estimate(own[:, -1] - other[:, -1]) if own.shape == other.shape else None


def _best(losses: Sequence[Value | None], evaluated: int) -> list[bool]:
    """Mark the loss whose interval lies wholly below all others; what has diverged is above any.

    Args:
        losses: of a column.
        evaluated: how many rows were evaluated so far.
    """
    known = [loss for loss in losses if loss is not None]
    return [
        evaluated > 1
        and loss is not None
        and all(loss.high < other.low for other in known if other is not loss)
        and np.isfinite(loss.high)
        for loss in losses
    ]

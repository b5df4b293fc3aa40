"""The table of a report: a row for each configuration, losses over seeds, differences to a baseline."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ..sweeps.collection import Collection, shown_steps
from . import columns

CONFIDENCE = 0.95

COMPARED = ["tasks_hash", "tasks", "metric"]
"""Columns in which all runs of one table agree."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Configurations that were evaluated on the same tasks, best first.

    Attributes:
        runs: the runs with results, as in :class:`Collection`, by configuration, then seed.
        means: the loss of each run after each step, mean over tasks.
        rows: a row for each configuration: a unique ``title``, ``label``, ``n`` runs, ``milliseconds``,
            ``parameters``, ``inner_steps``, and ``diverged_at``, the first inner step at which one of the
            runs has diverged, or NaN.
        paths: the settings that vary.
        cells: their values as text, a row for each configuration, a column for each setting by heading.
        numbers: a row for each configuration, columns by name and step: over seeds ``mean`` and ``half`` (of
            the 95 % t interval) of the loss, before ``diverged_at``; ``median`` and ``diverged`` over tasks.
        best: whether the interval of the mean after a step is below those of all others.
        differences: the differences from the baseline after the last step: mean and ``half`` over ``tasks``
            and over ``seeds``.
        baseline: the title of the row that others are compared with, if there are both.
        steps: the inner steps with a column.
    """

    runs: pd.DataFrame
    means: pd.DataFrame
    rows: pd.DataFrame
    paths: list[str]
    cells: pd.DataFrame
    numbers: pd.DataFrame
    best: pd.DataFrame
    differences: pd.DataFrame
    baseline: str | None
    steps: list[int]

    @property
    def first(self) -> pd.Series:
        """A run that represents the properties that all runs of the table share."""
        return self.runs.iloc[0]

    @property
    def setting(self) -> str:
        """The name of the tasks in titles: ``sinusoid, 10-shot``."""
        name, shots = self.first["name"], self.first["shots"]
        return str(name) if np.isnan(shots) else f"{name}, {shots:.0f}-shot"

    def of(self, configuration: str) -> pd.DataFrame:
        """Return the runs of a configuration."""
        return self.runs[self.runs["configuration"] == configuration]


def tables(found: Collection, baseline: str) -> list[Table]:
    """Return a table for each list of tasks that runs were evaluated on.

    Args:
        found: all runs.
        baseline: the label of the configuration to compare with; of several, that of the fewest inner steps.
    """
    used = found.runs[found.runs["reason"] == ""]
    return [_tabulate(found, part, baseline) for _, part in used.groupby(COMPARED, sort=False)]


def interval(count: Any, deviation: Any) -> Any:
    """Return the half width of the 95 % t interval of the mean of ``count`` numbers; NaN for a single one."""
    return deviation * stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(count - 1, 0)) / np.sqrt(count)


def _tabulate(found: Collection, used: pd.DataFrame, baseline: str) -> Table:
    numbers = _numbers(found.steps.loc[[*used.index]], used["configuration"])
    rows = _rows(used, numbers["mean"])
    numbers = numbers.loc[rows.index]
    reached = np.greater_equal.outer(numbers["mean"].columns, rows["diverged_at"].to_numpy()).T
    for name in ("mean", "half"):
        numbers[name] = numbers[name].mask(reached)
    place = used["configuration"].map(rows.index.get_loc)
    runs = used.assign(place=place).sort_values(["place", "seed"]).drop(columns="place")
    settings = found.settings.loc[runs.drop_duplicates("configuration").index].set_axis(rows.index)
    settings = settings.dropna(axis=1, how="all")
    paths = columns.varying(settings)
    rows["title"] = columns.titles(paths, settings)
    means = found.steps["mean"].loc[[*runs.index]].unstack("step").loc[runs.index]
    reference = _baseline(rows, baseline)
    differences = _differences(found, runs, rows, reference)
    return Table(
        runs=runs,
        means=means,
        rows=rows,
        paths=paths,
        cells=columns.cells(paths, settings).set_axis(columns.names(paths, settings), axis=1),
        numbers=numbers,
        best=_best(numbers),
        differences=differences,
        baseline=rows["title"][reference] if differences.notna().any(axis=None) else None,
        steps=shown_steps(means.columns),
    )


def _numbers(steps: pd.DataFrame, configuration: pd.Series) -> pd.DataFrame:
    """Return statistics over seeds of the losses of runs, by configuration and step."""
    run, step = (steps.index.get_level_values(name) for name in ("run", "step"))
    groups = steps.groupby([configuration[run].to_numpy(), step.rename("step")])
    loss = groups["mean"]
    half = interval(loss.size(), loss.std())
    return groups.mean().assign(half=half).unstack("step")


def _rows(used: pd.DataFrame, mean: pd.DataFrame) -> pd.DataFrame:
    """Return the properties of configurations, best first; of two that diverge, the later one is first."""
    rows = used.groupby("configuration").agg(
        label=("algorithm", "first"),
        n=("seed", "size"),
        inner_steps=("inner_steps", "first"),
        milliseconds=("milliseconds", "median"),
        parameters=("parameters", "first"),
        diverged_at=("diverged_at", "min"),
    )
    last = mean.ffill(axis=1).iloc[:, -1].where(rows["diverged_at"].isna(), -rows["diverged_at"])
    ranks = rows.assign(stable=rows["diverged_at"].notna(), last=last)
    return rows.loc[ranks.sort_values(["stable", "last", "label"]).index]


def _best(numbers: pd.DataFrame) -> pd.DataFrame:
    """Mark the loss whose interval is below all others of its step; diverged ones count as larger."""
    mean, half = numbers["mean"], numbers["half"]
    low = (mean - half.fillna(np.inf)).where(mean.notna(), np.inf)
    high = (mean + half).fillna(np.inf)
    best = high.eq(high.min()) & np.isfinite(high)
    best &= best.sum() == 1
    others = low.mask(best, np.inf).min()
    return best & (high < others) & (numbers["diverged"].notna().sum() > 1)


def _baseline(rows: pd.DataFrame, label: str) -> str | None:
    """Return the configuration with a label that was trained with the fewest inner steps."""
    alike = rows[rows["label"] == label]
    return None if alike.empty else str(alike["inner_steps"].idxmin())


def _differences(
    found: Collection, runs: pd.DataFrame, rows: pd.DataFrame, reference: str | None
) -> pd.DataFrame:
    """Return the differences of losses after the last step to those of the reference.

    Over tasks, each averaged over seeds, the interval is the uncertainty due to the choice of tasks. Over
    common seeds, each averaged over tasks, it is that due to the choice of seeds. Differences are NaN without
    a reference, if one of the two has diverged, or if they were evaluated after different numbers of steps.
    """
    names = pd.MultiIndex.from_product([["tasks", "seeds"], ["mean", "half"]])
    differences = pd.DataFrame(np.nan, index=rows.index, columns=names)
    losses = {
        configuration: [found.losses[run] for run in part.index]
        for configuration, part in runs.groupby("configuration")
        if np.isnan(rows["diverged_at"][configuration])
    }
    if reference is None or reference not in losses:
        return differences
    last = {each: np.stack([run[:, -1] for run in same]).astype(float) for each, same in losses.items()}
    seeds = {each: runs["seed"][runs["configuration"] == each] for each in losses}
    over_seeds = {each: pd.Series(last[each].mean(1), seeds[each]) for each in losses}
    for each, (first, *_) in losses.items():
        if each != reference and first.shape == losses[reference][0].shape:
            over_tasks = pd.Series(last[each].mean(0) - last[reference].mean(0))
            samples = over_tasks, (over_seeds[each] - over_seeds[reference]).dropna()
            pairs = [(sample.mean(), interval(len(sample), sample.std())) for sample in samples]
            differences.loc[each] = [*pairs[0], *pairs[1]]
    return differences

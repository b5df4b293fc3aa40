"""Runs as DataFrames: ``experiments.results.load("runs/sweeps/<id>")``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from .harness.sweeps.collection import Collection, collect


def load(folder: str | Path) -> pd.DataFrame:
    """Return the runs of a sweep, or all below another folder, a row a run.

    Runs that failed, are not finished or are damaged are rows, too: ``reason`` says why they have no numbers,
    and is empty for the others. ``load(folder).query("reason == ''")`` are those that reports are made of::

        runs = load("runs/sweeps/inner_rate_by_steps-1a2b3c4d")
        runs.groupby(["learner.steps", "rule.learning_rate"])["loss_10"].agg(["mean", "std", "count"])

    Args:
        folder: of a sweep, or with runs in it.

    Returns:
        A frame whose index, ``run``, is the run's folder relative to ``folder``, with the columns

        - ``id``, ``name``, ``algorithm`` (the setting ``label``), ``seed``, ``status``, ``reason``, ``path``;
        - ``iteration`` that it is at, of ``iterations``; ``shots``, ``inner_steps`` in training;
        - ``seconds`` of training, ``milliseconds`` an iteration, learned ``parameters``, ``versions``;
        - ``metric``, ``tasks`` and ``tasks_hash`` of the evaluation, and ``diverged_at``, the first inner
          step at which the mean loss is not finite or above ten times that before adapting;
        - ``configuration``, equal for runs that differ in their seeds alone;
        - every setting that varies, by its dotted path;
        - ``loss_0``, ``loss_1``, ...: query loss after so many inner steps, mean over tasks.

    Raises:
        UsageError: if there is no run at all.
    """
    found = collect(Path(folder))
    settings = found.settings.drop(columns=["label", *found.runs.columns], errors="ignore")
    varying = settings.loc[:, settings.nunique(dropna=False) > 1].infer_objects()
    losses = found.steps["mean"].unstack("step").rename(columns="loss_{:.0f}".format)
    return found.runs.drop(columns="untrusted").join(varying).join(losses)


def steps(folder: str | Path) -> pd.DataFrame:
    """Return the losses of runs that have numbers, a row a run and inner step.

    Args:
        folder: of a sweep, or with runs in it.

    Returns:
        A frame with ``run`` (the index of :func:`load`), ``algorithm``, ``seed``, ``step``, and over the
        tasks ``mean`` and ``median`` of the loss, and ``diverged``, what fraction of them has a loss that is
        not finite or above ten times the largest before adapting.

    Raises:
        UsageError: as :func:`load`.
    """
    found = collect(Path(folder))
    return _named(found.steps.reset_index(), found)


def tasks(folder: str | Path) -> pd.DataFrame:
    """Return each evaluation task's losses of runs that have numbers, a row a run, task and inner step.

    Runs of one ``tasks_hash`` were evaluated on the same tasks: their losses can be compared task by task.

    Args:
        folder: of a sweep, or with runs in it.

    Returns:
        A frame with ``run`` (the index of :func:`load`), ``algorithm``, ``seed``, ``task``, ``step`` and
        ``loss``.

    Raises:
        UsageError: as :func:`load`.
    """
    found = collect(Path(folder))
    parts = {run: pd.DataFrame(losses).rename_axis(index="task") for run, losses in found.losses.items()}
    if not parts:
        parts = {"": pd.DataFrame(np.empty((0, 1))).rename_axis(index="task")}
    losses = pd.concat(parts, names=["run"]).rename_axis(columns="step").stack().rename("loss")
    return _named(losses.reset_index(), found)


def _named(frame: pd.DataFrame, found: Collection) -> pd.DataFrame:
    names = found.runs.loc[frame["run"], ["algorithm", "seed"]]
    frame.insert(1, "algorithm", names["algorithm"].to_numpy())
    frame.insert(2, "seed", names["seed"].to_numpy())
    return frame

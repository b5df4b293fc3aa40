"""Runs as DataFrames: ``experiments.results.load("runs/sweeps/<id>")``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from .harness.sweeps.collection import Collection, collect


def load(folder: str | Path) -> pd.DataFrame:
    """Return the runs of a sweep, or all runs in a folder, with a row for each run.

    Runs that failed, are unfinished or damaged also have a row: ``reason`` says why they have no results, and
    is empty for other runs. Reports use the runs ``load(folder).query("reason == ''")``::

        runs = load("runs/sweeps/inner_rate_by_steps-1a2b3c4d")
        runs.groupby(["learner.steps", "rule.learning_rate"])["loss_10"].agg(["mean", "std", "count"])

    Args:
        folder: folder of a sweep, or any folder with runs.

    Returns:
        A frame whose index, ``run``, is the run's folder relative to ``folder``, with the columns

        - ``id``, ``name``, ``algorithm`` (the setting ``label``), ``seed``, ``status``, ``reason``, ``path``;
        - the present ``iteration`` of ``iterations``; ``shots`` and ``inner_steps`` of the training;
        - ``seconds`` of training, ``milliseconds`` per iteration, learned ``parameters``, ``versions``;
        - ``metric``, ``tasks`` and ``tasks_hash`` of the evaluation, and ``diverged_at``, the first inner
          step at which the mean loss is not finite or above ten times that before adapting;
        - ``configuration``, equal for runs that differ only in their seeds;
        - every setting that varies, by its dotted path;
        - ``loss_0``, ``loss_1``, ...: mean query loss over tasks after 0, 1, ... inner steps.

    Raises:
        UsageError: if there is no run.
    """
    found = collect(Path(folder))
    settings = found.settings.drop(columns=["label", *found.runs.columns], errors="ignore")
    varying = settings.loc[:, settings.nunique(dropna=False) > 1].infer_objects()
    losses = found.steps["mean"].unstack("step").rename(columns="loss_{:.0f}".format)
    return found.runs.drop(columns="untrusted").join(varying).join(losses)


def steps(folder: str | Path) -> pd.DataFrame:
    """Return the losses of runs with results, with a row for each run and inner step.

    Args:
        folder: folder of a sweep, or any folder with runs.

    Returns:
        A frame with ``run`` (the index of :func:`load`), ``algorithm``, ``seed``, ``step``, the ``mean`` and
        ``median`` of the loss over tasks, and ``diverged``, the fraction of tasks whose loss is not finite or
        above ten times the largest loss before adaptation.

    Raises:
        UsageError: as :func:`load`.
    """
    found = collect(Path(folder))
    return _named(found.steps.reset_index(), found)


def tasks(folder: str | Path) -> pd.DataFrame:
    """Return the losses of runs with results, with a row for each run, evaluation task and inner step.

    Runs with equal ``tasks_hash`` were evaluated on the same tasks: their losses can be compared by task.

    Args:
        folder: folder of a sweep, or any folder with runs.

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

"""Folders of runs that are written without training."""

import json

import numpy as np
import pandas as pd

from experiments.harness.report.table import tables
from experiments.harness.runs import code, environment, identity, rundir
from experiments.harness.runs.rundir import RunDirectory
from experiments.harness.sweeps import collection
from experiments.harness.sweeps.collection import Collection

TASK = {"_target_": "metalearn.tasks.Sinusoid", "shots": 10, "queries": 10}


def make_run(folder, label, seed, per_task, status="complete", curve=(4.0, 2.0), **changes):
    """Write the files of a run.

    Args:
        folder: that the run's folder is in.
        label: its name in tables.
        seed: of training.
        per_task: losses, ``[T, S+1]``.
        status: complete, running or failed.
        curve: the query loss of each iteration.
        changes: settings in the place of the default ones, by section.
    """
    config = {"name": "sinusoid", "label": label, "seed": seed, "task": TASK, "learner": {"steps": 1}}
    config |= {"rule": {"_target_": "metalearn.rules.sgd", "learning_rate": 0.01}, "evaluation": {"seed": 1}}
    config |= {"training": {"iterations": 100}, "tracking": {"group": f"{label}{seed}"}, **changes}
    run = RunDirectory(folder / f"{identity.digest(config)}-{status}")
    rundir.create(run, config)
    lines = [f"{index},0,{loss}" for index, loss in enumerate(curve)]
    run.metrics.write_text("\n".join(["iteration,inner/loss,outer/loss", *lines, ""]))
    write_results(run, np.asarray(per_task, np.float32), "abc")
    described = {"status": status, "iteration": 7, "meta_parameters": 30}
    if status == "failed":
        described["error"] = "iteration 7: not finite: meta_gradient/norm. Lower the rate"
    rundir.update_manifest(run, **described, milliseconds_per_iteration=0.25 + seed)
    return run


def write_results(run, per_task, tasks_hash):
    """Write an evaluation as a run does."""
    evaluation = {"steps": list(range(per_task.shape[1])), "num_tasks": len(per_task)}
    run.evaluation.write_text(json.dumps({**evaluation, "tasks_hash": tasks_hash, "metric": "mse"}))
    with run.losses.open("wb") as file:
        np.savez(file, per_task=per_task)
    rundir.update_manifest(run, files=rundir.checksums(run))


def spare(monkeypatch):
    """Skip the description of packages and code for each run."""
    monkeypatch.setattr(environment, "describe", lambda _: {})
    monkeypatch.setattr(code, "uncommitted", lambda _: "")


def make_group(label, losses, **changes):
    """Return runs that are not on disk: for each, a row, settings and losses.

    Args:
        label: their name in tables.
        losses: mean over tasks of each seed, ``[n, S+1]``: the two tasks are 0.5 below and above it.
        changes: other settings than the label, by section.
    """
    config = {"name": "sinusoid", "label": label, "task": TASK, "learner": {"steps": 1}, **changes}
    config |= {"training": {"iterations": 100}}
    made = []
    for seed, loss in enumerate(losses):
        manifest = {"status": "complete", "iteration": 100, "milliseconds_per_iteration": 0.25 + seed}
        row = collection._described({**config, "seed": seed}, {**manifest, "meta_parameters": 30})
        mean = np.asarray(loss, float)
        diverged = ~np.isfinite(mean) | (mean > 10 * mean[0])
        row |= {"metric": "mse", "tasks": 2, "tasks_hash": "abc", "reason": "", "path": str(seed)}
        row["diverged_at"] = float(np.argmax(diverged)) if diverged.any() else np.nan
        made.append((row, collection._settings(config), np.add(mean, [[-0.5], [0.5]])))
    return made


def stopped(group, seed, reason, **changes):
    """Return a run without results, with the settings of a group's first run."""
    row, settings, _ = group[0]
    other = {**row, "seed": seed, "reason": reason}
    if changes:
        other["configuration"] = str(changes)
    return [(other, {**settings, **changes}, None)]


def collected(*groups):
    """Return groups in the form of runs that were found in a folder."""
    made = {f"run{index}": each for index, each in enumerate(each for group in groups for each in group)}
    frames = [
        pd.DataFrame.from_dict({run: each[part] for run, each in made.items()}, orient="index", dtype=kind)
        for part, kind in ((0, None), (1, object))
    ]
    losses = {run: per_task for run, (_, _, per_task) in made.items() if per_task is not None}
    return Collection(*(frame.rename_axis("run") for frame in frames), collection._steps(losses), losses)


def table_of(*groups, baseline="none"):
    """Return the table of groups that were evaluated on the same tasks."""
    (table,) = tables(collected(*groups), baseline)
    return table

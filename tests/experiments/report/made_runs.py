"""Runs as they are on disk, written without training."""

import json
from pathlib import Path

import numpy as np

from experiments.harness.report.runs import Group, Run
from experiments.harness.runs import code, environment, identity, rundir
from experiments.harness.runs.rundir import RunDirectory

TASK = {"_target_": "metalearn.tasks.Sinusoid", "shots": 10, "queries": 10}


def make_run(folder, label, seed, per_task, status="complete", curve=(4.0, 2.0), **changes):
    """Write what a run leaves of itself.

    Args:
        folder: that the run's folder is in.
        label: what tables call it.
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
    rundir.make(run)
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
    """Spare each of the runs the look at packages and code."""
    monkeypatch.setattr(environment, "describe", lambda _: {})
    monkeypatch.setattr(code, "uncommitted", lambda _: "")


def make_group(label, losses, curves=((4.0, 2.0),), **changes):
    """Return runs that are not on disk.

    Args:
        label: what tables call them.
        losses: mean over tasks of each seed, ``[n, S+1]``: the two tasks are 0.5 below and above it.
        curves: query losses of each seed, ``[n, I]``; the same for all if there is one.
        changes: settings beside the label, by section.
    """
    config = {"name": "sinusoid", "label": label, "task": TASK, "learner": {"steps": 1}, **changes}
    curves = np.broadcast_to(np.asarray(curves, float), (len(losses), len(curves[0])))
    return Group(
        [
            Run(
                path=Path(str(seed)),
                config={**config, "seed": seed},
                name="sinusoid",
                label=label,
                seed=seed,
                shots=10,
                steps=config["learner"]["steps"],
                iterations=100,
                milliseconds=0.25 + seed,
                meta_parameters=30.0,
                training_loss=curves[seed],
                versions="",
                tasks_hash="abc",
                metric="mse",
                per_task=np.add(loss, [[-0.5], [0.5]]),
            )
            for seed, loss in enumerate(losses)
        ]
    )

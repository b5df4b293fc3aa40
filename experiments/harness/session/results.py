"""The results of a finished run: evaluation and figures, also for the tracker."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

import metalearn as ml
from metalearn.evaluation import Curve
from metalearn.nest import names

from ..app.terminal import evaluation_table
from ..config import memory, schema
from ..config.build import build_tasks, failing_as, judged, loss_name
from ..config.preparation import number, prepare, tasks_of
from ..console import console, say
from ..errors import UsageError
from ..figures import drawing as figures
from ..runs import checkpoints, code, identity, provenance, rundir
from ..runs.files import read_bytes, require_plain_folder, write_atomically, write_bytes, write_json
from ..runs.identity import Config
from ..runs.rundir import LARGEST_EVALUATION, RunDirectory
from .pictures import draw, loss_by_step
from .session import Session

TITLE = "Query loss after adaptation to held-out tasks"

STORED = ("mean", "median", "ci95")
"""Fields of each curve over the inner steps that are stored."""


def evaluate(config: Config, trainer: ml.MetaTrainer) -> ml.Evaluation:
    """Evaluate on held-out tasks with the settings ``config["evaluation"]``."""
    settings, tasks = config["evaluation"], tasks_of(config, "evaluation")
    with failing_as("evaluation"):
        count = number(tasks, settings["tasks"])
        judging = judged(config, trainer.learner)
        chosen = settings["steps"], settings["seed"], settings.get("queries_at_once", "all")
        return ml.evaluate(judging, trainer.meta, tasks, count, *chosen, cache=trainer.cache)


def digest(meta: ml.types.Meta) -> str:
    """Return the SHA-256 of the meta-parameters' names, types, shapes and bits."""
    total = hashlib.sha256()
    for name, leaf in zip(names(meta), tf.nest.flatten(meta), strict=True):
        total.update(f"{name} {leaf.dtype.name} {leaf.shape}".encode() + leaf.numpy().tobytes())
    return total.hexdigest()


def conclude(session: Session) -> None:
    """Evaluate a trained learner, draw its figures, and show, keep and track both.

    Raises:
        UsageError: if it cannot be evaluated with these settings; the training is kept.
    """
    run, config, trainer, tracker = session.run, session.config, session.trainer, session.tracker
    try:
        evaluation = evaluate(config, trainer)
    except UsageError as error:
        raise UsageError(
            f"{error}. The training is kept in {run.path}: the same command with other settings of "
            "evaluation continues from it"
        ) from error
    _keep(run.path, evaluation, config, trainer)
    tracker.evaluation(evaluation, loss_name(config))
    paths = draw(session, evaluation)
    tracker.figures(paths)
    tracker.checkpoint(sorted(run.checkpoints.glob("*.npz"))[-1])
    say(f"figures: {', '.join(str(path) for path in paths.values())}")


def evaluate_again(run: RunDirectory, config: Config) -> int:
    """Evaluate the newest checkpoint of a run under another configuration of task and evaluation.

    The result is stored in ``evaluations/<id>/`` in the run's folder; the id is a digest of the settings.
    """
    config = schema.check(config)
    stored, manifest = rundir.read(run, config.get("packages", ()))
    require_plain_folder(run.path)
    memory.require(config)
    build_tasks(config)  # settings that it does not take are named as they were typed
    trainer = prepare(schema.check(stored))
    if not checkpoints.recover(run.checkpoints, manifest["identity"], lambda state: restore(trainer, state)):
        raise UsageError(f"run={run.path} has no checkpoint: train it first")
    if manifest["status"] == "complete":
        _require_final(run, trainer, manifest)
    else:
        say(
            f"{manifest['status']}; this is its state at iteration {trainer.iteration}",
            "the run is",
            "yellow",
        )
    other = provenance.changes(stored, manifest)
    if other:
        say(code.summary(other), "trained by other code:", "bold yellow")
    evaluation = evaluate(config, trainer)
    place = _place(run, config)
    _keep(place, evaluation, config, trainer)
    figures.save(loss_by_step(evaluation, config), place / "loss_by_step")
    say(f"kept in {place}")
    return 0


def _require_final(run: RunDirectory, trainer: ml.MetaTrainer, manifest: Config) -> None:
    """Raise UsageError unless a trainer has the final parameters of a complete run."""
    if digest(trainer.meta) != manifest.get("parameters_digest"):
        raise UsageError(
            f"{run.checkpoints} no longer has the parameters that the run ended with: the newest that can be "
            f"used are of iteration {trainer.iteration}, the run has {manifest['iteration']}. Train "
            "it again with run.fresh=true"
        )


def set_aside(run: RunDirectory, config: Config) -> None:
    """Copy the present evaluation of a run to ``evaluations/``, because another one replaces it."""
    place = _place(run, config)
    for path in (run.evaluation, run.losses):
        if path.exists():
            write_bytes(place / path.name, read_bytes(path, LARGEST_EVALUATION))


def _place(run: RunDirectory, config: Config) -> Path:
    """Return the folder for an evaluation's settings, after writing the settings to it."""
    asked = {key: config[key] for key in ("task", "evaluation")}
    place = run.evaluations / identity.digest(asked)
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / "config.json", asked)
    return place


def restore(trainer: ml.MetaTrainer, state: checkpoints.State) -> None:
    """Restore a trainer from a checkpoint, without the positions in files."""
    trainer.restore({name: value for name, value in state.items() if ".csv/" not in name})


def _keep(folder: Path, evaluation: ml.Evaluation, config: Config, trainer: ml.MetaTrainer) -> None:
    """Write an evaluation into a folder, and print it; diverged losses are null, as JSON has no infinity."""
    place, metric, statistics = RunDirectory(folder), loss_name(config), config["learner"]["statistics"]
    rule = config["evaluation"].get("rule")
    write_json(
        place.evaluation,
        {
            "steps": evaluation.steps.tolist(),
            **_stored(evaluation),
            "diverged": evaluation.diverged.tolist(),
            "metrics": {name: _stored(curve) for name, curve in evaluation.metrics.items()},
            "num_tasks": evaluation.num_tasks,
            "tasks_hash": evaluation.tasks_hash,
            "metric": metric,
            "queries_at_once": evaluation.queries_at_once,
            "statistics": statistics,
            **({"rule": rule} if rule else {}),
            "iteration": trainer.iteration,
            "parameters_digest": digest(trainer.meta),
        },
    )
    write_atomically(place.losses, lambda file: np.savez(file, per_task=evaluation.per_task))
    console.print(evaluation_table(evaluation, metric, TITLE, statistics, rule))


def _stored(curve: ml.Evaluation | Curve) -> dict[str, list[float | None]]:
    return {part: [*map(finite, getattr(curve, part).tolist())] for part in STORED}


def finite(value: float) -> float | None:
    """Return a number in a form that JSON can represent."""
    return value if np.isfinite(value) else None


def show(run: RunDirectory, manifest: Config) -> None:
    """Print the evaluation of a finished run again.

    Raises:
        UsageError: if it cannot be read.
    """
    rundir.require_unchanged(run, manifest, run.evaluation)
    with failing_as(f"{run.evaluation} cannot be read"):
        stored = json.loads(read_bytes(run.evaluation, LARGEST_EVALUATION))
        evaluation = ml.Evaluation(
            steps=np.array(stored["steps"]),
            **{part: np.array(stored[part], dtype=float) for part in (*STORED, "diverged")},
            num_tasks=stored["num_tasks"],
            queries_at_once=stored.get("queries_at_once", "all"),
            tasks_hash=stored["tasks_hash"],
            per_task=np.empty(0),
            metrics={
                name: Curve(
                    per_task=np.empty(0), **{part: np.array(curve[part], dtype=float) for part in STORED}
                )
                for name, curve in stored["metrics"].items()
            },
        )
        differs = stored.get("statistics"), stored.get("rule")
        table = evaluation_table(evaluation, str(stored["metric"]), TITLE, *differs)
    console.print(table)

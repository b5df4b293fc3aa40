"""What a finished run leaves: the evaluation, the figures, and their copies in the tracker."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import metalearn as ml
from metalearn.evaluation import Curve
from metalearn.nest import names

from ..app.terminal import evaluation_table
from ..config import memory, schema
from ..config.build import build, build_tasks, failing_as, judged, loss_name
from ..config.preparation import number, prepare, tasks_of
from ..console import console, say
from ..errors import UsageError
from ..figures import adaptation, attacked, distilled, episodes, generated, horizon, reported, story
from ..figures import drawing as figures
from ..runs import checkpoints, code, identity, metrics, provenance, rundir
from ..runs.files import read_bytes, require_plain_folder, write_atomically, write_bytes, write_json
from ..runs.rundir import LARGEST_EVALUATION, RunDirectory
from .evolution import kept
from .session import Session

Config = dict[str, Any]

TITLE = "Query loss after adaptation to fresh tasks"

WINDOW = 500
"""Iterations that a point of the training curves is the mean of."""

STORED = ("mean", "median", "ci95")
"""What is kept of each curve over the inner steps."""

REFERENCES = {
    "metalearn.tasks.Harmonic": {"predicting 0": 1.0},
    "metalearn.tasks.Linear": {"predicting 0": 10.0},
    "metalearn.tasks.Multimodal": {"predicting 0": 16.251, "best without adapting": 16.201},
    "metalearn.tasks.Polynomial": {"predicting 0": 43.819},
    "metalearn.tasks.Sinusoid": {"predicting 0": 4.252, "best without adapting": 3.006},
    "metalearn.tasks.Step": {"predicting 0": 1.0, "best without adapting": 0.33},
}
"""Losses of predictors that do not adapt, under the task's default ranges, at the query inputs of the default
evaluation; the sinusoid's are the well-known ones for random inputs, at most 0.01 lower."""


def evaluate(config: Config, learner: ml.Learner, meta: ml.types.Meta) -> ml.Evaluation:
    """Evaluate on fresh tasks as ``config["evaluation"]`` says."""
    settings, tasks = config["evaluation"], tasks_of(config, "evaluation")
    with failing_as("evaluation"):
        count = number(tasks, settings["tasks"])
        judging = judged(config, learner)
        at_once = settings.get("queries_at_once", "all")
        return ml.evaluate(judging, meta, tasks, count, settings["steps"], settings["seed"], at_once)


def digest(meta: ml.types.Meta) -> str:
    """Return the SHA-256 of the meta-parameters' names, types, shapes and bits."""
    total = hashlib.sha256()
    for name, leaf in zip(names(meta), tf.nest.flatten(meta), strict=True):
        total.update(f"{name} {leaf.dtype.name} {leaf.shape}".encode() + leaf.numpy().tobytes())
    return total.hexdigest()


def conclude(session: Session) -> None:
    """Evaluate a trained learner, draw its figures, and show, keep and track both.

    Raises:
        UsageError: if it cannot be evaluated so; the training is kept.
    """
    run, config, trainer, tracker = session.run, session.config, session.trainer, session.tracker
    try:
        evaluation = evaluate(config, trainer.learner, trainer.meta)
    except UsageError as error:
        raise UsageError(
            f"{error}. The training is kept in {run.path}: the same command with other settings of "
            "evaluation goes on from it"
        ) from error
    _keep(run.path, evaluation, config, trainer)
    tracker.evaluation(evaluation, loss_name(config))
    paths = draw(session, evaluation)
    tracker.figures(paths)
    tracker.checkpoint(sorted(run.checkpoints.glob("*.npz"))[-1])
    say(f"figures: {', '.join(str(path) for path in paths.values())}")


def evaluate_again(run: RunDirectory, config: Config) -> int:
    """Evaluate the newest checkpoint of a run under another configuration of task and evaluation.

    The result goes to ``evaluations/<id>/`` in the run's folder, the id made from what was asked.
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
    evaluation = evaluate(config, trainer.learner, trainer.meta)
    place = _place(run, config)
    _keep(place, evaluation, config, trainer)
    figures.save(loss_by_step(evaluation, config), place / "loss_by_step")
    say(f"kept in {place}")
    return 0


def _require_final(run: RunDirectory, trainer: ml.MetaTrainer, manifest: Config) -> None:
    """Raise UsageError unless a trainer has the parameters that a complete run ended with."""
    if digest(trainer.meta) != manifest.get("parameters_digest"):
        raise UsageError(
            f"{run.checkpoints} no longer has the parameters that the run ended with: the newest that can be "
            f"used are of iteration {trainer.iteration}, the run has {manifest['iteration']}. Train "
            "it again with run.fresh=true"
        )


def set_aside(run: RunDirectory, config: Config) -> None:
    """Copy the evaluation that a run has now to ``evaluations/``, for another one takes its place."""
    place = _place(run, config)
    for path in (run.evaluation, run.losses):
        if path.exists():
            write_bytes(place / path.name, read_bytes(path, LARGEST_EVALUATION))


def _place(run: RunDirectory, config: Config) -> Path:
    """Return the folder for what was asked of task and evaluation, with that in it."""
    asked = {key: config[key] for key in ("task", "evaluation")}
    place = run.evaluations / identity.digest(asked)
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / "config.json", asked)
    return place


def restore(trainer: ml.MetaTrainer, state: checkpoints.State) -> None:
    """Set a trainer to the state of a checkpoint, of which the positions in files are not its own."""
    trainer.restore({name: value for name, value in state.items() if ".csv/" not in name})


def draw(session: Session, evaluation: ml.Evaluation) -> dict[str, Path]:
    """Draw the figures of a run and return where each was written."""
    run, trainer, config = session.run, session.trainer, session.config
    history = metrics.read(run.metrics)
    window = max(1, min(WINDOW, len(history["outer/loss"]) // 20))
    drawn = {
        "loss_by_step": loss_by_step(evaluation, config),
        "training_curves": figures.training_curves(history, window),
        "meta_gradient_norms": figures.meta_gradient_norms(history, window),
    }
    speed = (rundir.read_manifest(run) or {}).get("milliseconds_per_iteration")
    if reported.named(history, evaluation):
        drawn["metrics"] = reported.metrics(history, evaluation, window, speed)
    shots = config["task"].get("shots")
    trained = f"{shots} shot{'s' * (shots != 1)}, K = {config['learner']['steps']}"
    cases = adaptation.adaptation_cases(trainer.learner, trainer.meta, build_tasks(config))
    if cases:
        drawn["adaptation"] = adaptation.adaptation(cases, trained)
    tasks = tasks_of(config, "evaluation")
    episode = episodes.episode(trainer.learner, trainer.meta, tasks)
    if episode:
        drawn["episode"] = episodes.draw(episode, trained)
    worst = attacked.attacked(judged(config, trainer.learner), trainer.meta, tasks)
    if worst:
        drawn["attacked"] = attacked.draw(worst)
    images = distilled.distilled(trainer.learner, trainer.meta, config["seed"], kept(run))
    if images:
        drawn["distilled"] = distilled.draw(images)
    described = (config.get("problem") or {}).get("generator")
    generator = build(described, "problem.generator", config.get("packages", ()))
    points = generated.generated(generator, trainer.meta, tasks)
    if points:
        drawn["generated"] = generated.draw(points)
    if config["diagnostics"]["horizon"]:
        metas = {"before": trainer.learner.initialize(config["seed"]), "learned": trainer.meta}
        drawn["horizon"] = horizon.draw(horizon.measured(trainer.learner, metas, tasks))
    for name, figure in drawn.items():
        figures.save(figure, run.figures / name)
    return {name: run.figures / f"{name}.png" for name in drawn} | draw_story(run, config)


def draw_story(run: RunDirectory, config: Config) -> dict[str, Path]:
    """Draw what the diagnoses of a run say, if there were any, and return where it was written."""
    if not run.diagnostics.exists():
        return {}
    steps = config["learner"]["steps"]
    title = f"{config['name']}, {config['label']}, {steps} inner step{'s' * (steps != 1)}"
    figure = story.meta_gradients(
        *metrics.read_table(run.diagnostics), config["training"]["meta_batch_size"], title
    )
    figures.save(figure, run.figures / "meta_gradients")
    return {"meta_gradients": run.figures / "meta_gradients.png"}


def loss_by_step(evaluation: ml.Evaluation, config: Config) -> figures.Figure:
    """Draw query loss against inner steps, with the reference lines of the default task."""
    label = str(config["label"])
    if not config.get("problem"):
        label += f", K = {config['learner']['steps']} in training"
    return figures.loss_by_step(
        {label: (evaluation.steps, evaluation.mean, evaluation.ci95, evaluation.median)},
        loss_name(config),
        references(config),
    )


def references(config: Config) -> dict[str, float]:
    """Return losses of predictors that do not adapt to ``config["task"]``, by name."""
    task = config["task"]
    if task["_target_"] not in REFERENCES:
        return {}
    # Whatever else is set (ranges) changes what a predictor that does not adapt can reach.
    plain = {key: task[key] for key in ("_target_", "shots", "queries", "informed") if key in task}
    known = build_tasks(config) == build_tasks({"task": plain})
    return REFERENCES[task["_target_"]] if known else {}


def _keep(folder: Path, evaluation: ml.Evaluation, config: Config, trainer: ml.MetaTrainer) -> None:
    """Write an evaluation into a folder, and print it; null where a task diverged: JSON has no infinity."""
    place, metric, statistics = RunDirectory(folder), loss_name(config), config["learner"]["statistics"]
    write_json(
        place.evaluation,
        {
            "steps": evaluation.steps.tolist(),
            "mean": _finite_or_null(evaluation.mean),
            "median": _finite_or_null(evaluation.median),
            "ci95": _finite_or_null(evaluation.ci95),
            "diverged": evaluation.diverged.tolist(),
            "metrics": {
                name: {part: _finite_or_null(getattr(curve, part)) for part in STORED}
                for name, curve in evaluation.metrics.items()
            },
            "num_tasks": evaluation.num_tasks,
            "tasks_hash": evaluation.tasks_hash,
            "metric": metric,
            "queries_at_once": evaluation.queries_at_once,
            "statistics": statistics,
            "iteration": trainer.iteration,
            "parameters_digest": digest(trainer.meta),
        },
    )
    write_atomically(place.losses, lambda file: np.savez(file, per_task=evaluation.per_task))
    console.print(evaluation_table(evaluation, metric, TITLE, statistics))


def _finite_or_null(values: np.ndarray) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]


def show(run: RunDirectory, manifest: Config) -> None:
    """Print the evaluation of a finished run again.

    Raises:
        UsageError: if it cannot be read.
    """
    rundir.require_unchanged(run, manifest, run.evaluation)
    try:
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
        table = evaluation_table(evaluation, str(stored["metric"]), TITLE, stored.get("statistics"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{run.evaluation} cannot be read: {error!r}") from error
    console.print(table)

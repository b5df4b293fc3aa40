"""What a finished run leaves: the evaluation, the figures, and their copies in the tracker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import metalearn as ml
from experiments.harness import checkpoints, figures, metrics, rundir, story
from experiments.harness.build import build_tasks, build_trainer
from experiments.harness.cli import UsageError
from experiments.harness.files import write_atomically, write_json
from experiments.harness.rundir import RunDirectory
from experiments.harness.settings import check
from experiments.harness.terminal import console, evaluation_table, say
from experiments.harness.tracking import Tracker

Config = dict[str, Any]

WINDOW = 500
"""Iterations that a point of the training curves is the mean of."""

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
    settings, tasks = config["evaluation"], evaluation_tasks(config)
    try:
        return ml.evaluate(learner, meta, tasks, settings["tasks"], settings["steps"], settings["seed"])
    except ValueError as error:
        raise UsageError(f"evaluation: {error}") from error


def evaluation_tasks(config: Config) -> ml.types.Source:
    """Return the distribution of ``config["task"]``, changed as ``config["evaluation"]["task"]`` says."""
    changes = dict(config["evaluation"].get("task") or {})
    if not hasattr(build_tasks(config), "grid"):  # inputs are not numbers: there is no even spacing of them
        changes.pop("grid", None)
    return build_tasks(config, **changes)


def conclude(run: RunDirectory, trainer: ml.MetaTrainer, tracker: Tracker, config: Config) -> None:
    """Evaluate a trained learner, draw its figures, and show, keep and track both."""
    metric = config["learner"]["loss"]
    evaluation = evaluate(config, trainer.learner, trainer.meta)
    write_evaluation(run.evaluation, evaluation, metric)
    write_atomically(run.losses, lambda file: np.savez(file, per_task=evaluation.per_task))
    console.print(evaluation_table(evaluation, metric, "Query loss after adaptation to fresh tasks"))
    tracker.evaluation(evaluation, metric)
    paths = draw(run, trainer, evaluation, config)
    tracker.figures(paths)
    tracker.checkpoint(sorted(run.checkpoints.glob("*.npz"))[-1])
    say(f"figures: {', '.join(str(path) for path in paths.values())}")


def evaluate_again(run: RunDirectory, config: Config) -> int:
    """Evaluate the newest checkpoint of a run under another configuration of task and evaluation.

    The result goes to ``evaluations/<id>/`` in the run's folder, the id made from what was asked.
    """
    check(config)
    stored, manifest = rundir.read(run)
    trainer = build_trainer(stored)
    if not checkpoints.recover(run.checkpoints, manifest["identity"], lambda state: restore(trainer, state)):
        raise UsageError(f"run={run.path} has no checkpoint yet: train it first")
    if manifest["status"] != "complete":
        say(f"[yellow]the run is {manifest['status']}[/]; this is its state at iteration {trainer.iteration}")
    evaluation = evaluate(config, trainer.learner, trainer.meta)
    asked = {key: config[key] for key in ("task", "evaluation")}
    place = run.path / "evaluations" / rundir.digest(asked)
    place.mkdir(parents=True, exist_ok=True)
    metric = config["learner"]["loss"]
    console.print(evaluation_table(evaluation, metric, "Query loss after adaptation to fresh tasks"))
    write_evaluation(place / "evaluation.json", evaluation, metric)
    write_json(place / "config.json", asked)
    figures.save(loss_by_step(evaluation, config), place / "loss_by_step.png")
    say(f"kept in {place}")
    return 0


def restore(trainer: ml.MetaTrainer, state: checkpoints.State) -> None:
    """Set a trainer to the state of a checkpoint, of which the positions in files are not its own."""
    trainer.restore({name: value for name, value in state.items() if ".csv/" not in name})


def draw(
    run: RunDirectory, trainer: ml.MetaTrainer, evaluation: ml.Evaluation, config: Config
) -> dict[str, Path]:
    """Draw the figures of a run and return where each was written."""
    history = metrics.read(run.metrics)
    window = max(1, min(WINDOW, len(history["outer/loss"]) // 20))
    drawn = {
        "loss_by_step": loss_by_step(evaluation, config),
        "training_curves": figures.training_curves(history, window),
        "meta_gradient_norms": figures.meta_gradient_norms(history, window),
    }
    cases = figures.adaptation_cases(trainer.learner, trainer.meta, build_tasks(config))
    if cases:
        drawn["adaptation"] = figures.adaptation(cases)
    paths = {name: run.figures / f"{name}.png" for name in drawn}
    for name, figure in drawn.items():
        figures.save(figure, paths[name])
    return paths | draw_story(run, config)


def draw_story(run: RunDirectory, config: Config) -> dict[str, Path]:
    """Draw what the diagnoses of a run say, if there were any, and return where it was written."""
    if not run.diagnostics.exists():
        return {}
    steps = config["learner"]["steps"]
    title = f"{config['name']}, {config['label']}, {steps} inner step{'s' * (steps != 1)}"
    figure = story.meta_gradients(
        *metrics.read_table(run.diagnostics), config["training"]["meta_batch_size"], title
    )
    path = run.figures / "meta_gradients.png"
    figures.save(figure, path)
    return {path.stem: path}


def loss_by_step(evaluation: ml.Evaluation, config: Config) -> figures.Figure:
    """Draw query loss against inner steps, with the reference lines of the default task."""
    steps = config["learner"]["steps"]
    label = (
        f"{config['estimator']['_target_'].rpartition('.')[2]}, trained with {steps} step{'s' * (steps > 1)}"
    )
    return figures.loss_by_step(
        {label: (evaluation.steps, evaluation.mean, evaluation.ci95)},
        config["learner"]["loss"],
        references(config),
    )


def references(config: Config) -> dict[str, float]:
    """Return losses of predictors that do not adapt to ``config["task"]``, by name."""
    task = config["task"]
    # Whatever else is set (ranges) changes what a predictor that does not adapt can reach.
    plain = {key: task[key] for key in ("_target_", "shots", "queries", "informed") if key in task}
    known = build_tasks(config) == build_tasks({"task": plain})
    return REFERENCES.get(task["_target_"], {}) if known else {}


def write_evaluation(path: Path, evaluation: ml.Evaluation, metric: str) -> None:
    """Write ``evaluation.json``; null where a task diverged, for JSON has no infinity."""
    write_json(
        path,
        {
            "steps": evaluation.steps.tolist(),
            "mean": _finite_or_null(evaluation.mean),
            "ci95": _finite_or_null(evaluation.ci95),
            "num_tasks": evaluation.num_tasks,
            "tasks_hash": evaluation.tasks_hash,
            "metric": metric,
        },
    )


def _finite_or_null(values: np.ndarray) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]


def show(run: RunDirectory, manifest: Config) -> None:
    """Print the evaluation of a finished run again.

    Raises:
        UsageError: if it cannot be read.
    """
    rundir.require_unchanged(run, manifest, run.evaluation)
    try:
        stored = json.loads(run.evaluation.read_text())
        evaluation = ml.Evaluation(
            steps=np.array(stored["steps"]),
            mean=np.array(stored["mean"], dtype=float),
            ci95=np.array(stored["ci95"], dtype=float),
            num_tasks=stored["num_tasks"],
            tasks_hash=stored["tasks_hash"],
            per_task=np.empty(0),
            metrics={},
        )
        table = evaluation_table(evaluation, stored["metric"], "Query loss after adaptation to fresh tasks")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{run.evaluation} cannot be read: {error!r}") from error
    console.print(table)

"""The figures of a run: those of training and evaluation, and those of its kind of problem."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import metalearn as ml

from ..config.build import build, build_tasks, judged, loss_name
from ..config.preparation import tasks_of
from ..figures import (
    adaptation,
    attacked,
    distilled,
    episodes,
    generated,
    horizon,
    reported,
    story,
    trajectories,
)
from ..figures import drawing as figures
from ..runs import metrics
from ..runs.identity import Config
from ..runs.rundir import RunDirectory, read_manifest
from .evolution import kept
from .session import Session

WINDOW = 500
"""Iterations that are averaged in a point of the training curves."""

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


def draw(session: Session, evaluation: ml.Evaluation) -> dict[str, Path]:
    """Draw the figures of a run and return their paths."""
    run, config = session.run, session.config
    history = metrics.read(run.metrics)
    window = max(1, min(WINDOW, len(history["outer/loss"]) // 20))
    drawn = {
        "loss_by_step": loss_by_step(evaluation, config),
        "training_curves": figures.training_curves(history, window),
        "meta_gradient_norms": figures.meta_gradient_norms(history, window),
    }
    if reported.named(history, evaluation):
        speed = (read_manifest(run) or {}).get("milliseconds_per_iteration")
        drawn["metrics"] = reported.metrics(history, evaluation, window, speed)
    drawn |= _of_problem(session)
    return {name: _save(figure, run, name) for name, figure in drawn.items()} | draw_story(run, config)


def _of_problem(session: Session) -> dict[str, Figure]:
    """Return the figures that apply to the problem of a run."""
    config, settings = session.config, session.config.get("problem") or {}
    trainer, tasks = session.trainer, tasks_of(config, "evaluation")
    learner, meta = trainer.learner, trainer.meta
    shots, steps = config["task"].get("shots"), config["learner"]["steps"]
    protocol = f"{shots} shot{'s' * (shots != 1)}, K = {steps}"

    def part(name: str) -> Any:
        return build(settings.get(name), f"problem.{name}", config.get("packages", ()))

    found: dict[str, tuple[Any, Callable[[Any], Figure]]] = {
        "adaptation": (
            adaptation.adaptation_cases(learner, meta, build_tasks(config), trainer.cache),
            lambda cases: adaptation.adaptation(cases, protocol),
        ),
        "episode": (episodes.episode(learner, meta, tasks), lambda task: episodes.draw(task, protocol)),
        "attacked": (attacked.attacked(judged(config, learner), meta, tasks), attacked.draw),
        "distilled": (
            distilled.distilled(learner, meta, config["seed"], kept(session.run)),
            distilled.draw,
        ),
        "generated": (generated.generated(part("generator"), meta, tasks), generated.draw),
        "trajectories": (
            trajectories.trajectories(
                learner, meta, tasks, lambda: part("model"), settings.get("deviation", 0.0)
            ),
            trajectories.draw,
        ),
    }
    drawn = {name: make(data) for name, (data, make) in found.items() if data}
    if config["diagnostics"]["horizon"]:
        metas = {"before": learner.initialize(config["seed"]), "learned": meta}
        drawn["horizon"] = horizon.draw(horizon.measured(learner, metas, tasks))
    return drawn


def draw_story(run: RunDirectory, config: Config) -> dict[str, Path]:
    """Draw the diagnoses of a run, if there are any, and return the path of the figure."""
    if not run.diagnostics.exists():
        return {}
    steps = config["learner"]["steps"]
    title = f"{config['name']}, {config['label']}, {steps} inner step{'s' * (steps != 1)}"
    figure = story.meta_gradients(
        *metrics.read_table(run.diagnostics), config["training"]["meta_batch_size"], title
    )
    return {"meta_gradients": _save(figure, run, "meta_gradients")}


def _save(figure: Figure, run: RunDirectory, name: str) -> Path:
    figures.save(figure, run.figures / name)
    return run.figures / f"{name}.png"


def loss_by_step(evaluation: ml.Evaluation, config: Config) -> Figure:
    """Draw query loss against inner steps, with the reference lines of the default task."""
    label = str(config["label"])
    if not config.get("problem"):
        label += f", K = {config['learner']['steps']} in training"
    curves = evaluation.steps, evaluation.mean, evaluation.ci95, evaluation.median
    return figures.loss_by_step(label, curves, loss_name(config), references(config))


def references(config: Config) -> dict[str, float]:
    """Return losses of predictors that do not adapt to ``config["task"]``, by name."""
    task = config["task"]
    if task["_target_"] not in REFERENCES:
        return {}
    # Whatever else is set (ranges) changes what a predictor that does not adapt can reach.
    plain = {key: task[key] for key in ("_target_", "shots", "queries", "informed") if key in task}
    known = build_tasks(config) == build_tasks({"task": plain})
    return REFERENCES[task["_target_"]] if known else {}

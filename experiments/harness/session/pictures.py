"""The figures of a run: of its training and evaluation, and those that its problem has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

import metalearn as ml
from metalearn.sources import Source

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


class Trained(NamedTuple):
    """What figures of a problem are drawn from.

    Attributes:
        learner: that was trained.
        meta: trained meta-parameters.
        tasks: of the evaluation.
        config: of the run.
        run: where it is.
    """

    learner: ml.Learner
    meta: ml.types.Meta
    tasks: Source
    config: Config
    run: RunDirectory

    @property
    def protocol(self) -> str:
        """Shots and inner steps in training, to be said in a figure."""
        shots = self.config["task"].get("shots")
        return f"{shots} shot{'s' * (shots != 1)}, K = {self.config['learner']['steps']}"

    def part(self, name: str) -> Any:
        """Return an object that the configuration of the problem describes, or None."""
        settings, packages = self.config.get("problem") or {}, self.config.get("packages", ())
        return build(settings.get(name), f"problem.{name}", packages)


def _adaptation(of: Trained) -> Figure | None:
    cases = adaptation.adaptation_cases(of.learner, of.meta, build_tasks(of.config))
    return adaptation.adaptation(cases, of.protocol) if cases else None


def _episode(of: Trained) -> Figure | None:
    found = episodes.episode(of.learner, of.meta, of.tasks)
    return episodes.draw(found, of.protocol) if found else None


def _attacked(of: Trained) -> Figure | None:
    found = attacked.attacked(judged(of.config, of.learner), of.meta, of.tasks)
    return attacked.draw(found) if found else None


def _distilled(of: Trained) -> Figure | None:
    found = distilled.distilled(of.learner, of.meta, of.config["seed"], kept(of.run))
    return distilled.draw(found) if found else None


def _generated(of: Trained) -> Figure | None:
    found = generated.generated(of.part("generator"), of.meta, of.tasks)
    return generated.draw(found) if found else None


def _trajectories(of: Trained) -> Figure | None:
    deviation = (of.config.get("problem") or {}).get("deviation", 0.0)
    found = trajectories.trajectories(of.learner, of.meta, of.tasks, lambda: of.part("model"), deviation)
    return trajectories.draw(found) if found else None


def _horizon(of: Trained) -> Figure | None:
    if not of.config["diagnostics"]["horizon"]:
        return None
    metas = {"before": of.learner.initialize(of.config["seed"]), "learned": of.meta}
    return horizon.draw(horizon.measured(of.learner, metas, of.tasks))


OF_PROBLEMS: dict[str, Callable[[Trained], Figure | None]] = {
    "adaptation": _adaptation,
    "episode": _episode,
    "attacked": _attacked,
    "distilled": _distilled,
    "generated": _generated,
    "trajectories": _trajectories,
    "horizon": _horizon,
}
"""Figures by name; each is None of a problem that it does not suit."""


def draw(session: Session, evaluation: ml.Evaluation) -> dict[str, Path]:
    """Draw the figures of a run and return where each was written."""
    run, trainer, config = session.run, session.trainer, session.config
    history = metrics.read(run.metrics)
    window = max(1, min(WINDOW, len(history["outer/loss"]) // 20))
    drawn: dict[str, Figure | None] = {
        "loss_by_step": loss_by_step(evaluation, config),
        "training_curves": figures.training_curves(history, window),
        "meta_gradient_norms": figures.meta_gradient_norms(history, window),
    }
    if reported.named(history, evaluation):
        speed = (read_manifest(run) or {}).get("milliseconds_per_iteration")
        drawn["metrics"] = reported.metrics(history, evaluation, window, speed)
    trained = Trained(trainer.learner, trainer.meta, tasks_of(config, "evaluation"), config, run)
    drawn |= {name: make(trained) for name, make in OF_PROBLEMS.items()}
    paths = {name: _save(figure, run, name) for name, figure in drawn.items() if figure is not None}
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
    return {"meta_gradients": _save(figure, run, "meta_gradients")}


def _save(figure: Figure, run: RunDirectory, name: str) -> Path:
    figures.save(figure, run.figures / name)
    return run.figures / f"{name}.png"


def loss_by_step(evaluation: ml.Evaluation, config: Config) -> Figure:
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

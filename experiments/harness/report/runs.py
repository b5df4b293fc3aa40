"""The runs below a folder, read from what they left on disk, and grouped by configuration."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness import rundir
from experiments.harness.cli import UsageError
from experiments.harness.rundir import RunDirectory

Config = dict[str, Any]

SEEDED = ("seed", *rundir.WITHOUT_EFFECT)
"""Settings that runs of one group may differ in."""

DIVERGED = 10.0
"""A mean loss this many times that before adapting counts as diverged, as does one that is not finite."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder.
        config: resolved.
        name: of the experiment.
        label: what tables and figures call it.
        shots: support examples a task.
        steps: inner steps in training.
        iterations: of training.
        milliseconds: of an iteration of training; NaN if not known.
        meta_parameters: learned numbers; NaN if not known.
        tasks_hash: of the evaluation's tasks.
        metric: of the losses.
        per_task: each evaluation task's loss after 0, 1, ... inner steps, ``[T, S+1]``.
    """

    path: Path
    config: Config
    name: str
    label: str
    shots: int
    steps: int
    iterations: int
    milliseconds: float
    meta_parameters: float
    tasks_hash: str
    metric: str
    per_task: np.ndarray


@dataclasses.dataclass(frozen=True)
class Failure:
    """A run whose training stopped for something that was not finite.

    Attributes:
        name: of the experiment.
        label: what tables and figures call it.
        shots: support examples a task.
        steps: inner steps in training.
        iteration: at which it stopped.
    """

    name: str
    label: str
    shots: int
    steps: int
    iteration: int


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs of one configuration, which differ in their seeds; never empty."""

    runs: list[Run]

    @property
    def first(self) -> Run:
        """The run that stands for what all have in common."""
        return self.runs[0]

    @property
    def per_task(self) -> np.ndarray:
        """Each task's loss, the mean over the runs, ``[T, S+1]``."""
        return np.asarray([run.per_task for run in self.runs], np.float64).mean(0)

    @property
    def diverged(self) -> int | None:
        """The first inner step at which the mean loss of a run counts as diverged; None if none does."""
        means = np.array([run.per_task.mean(0, dtype=np.float64) for run in self.runs])
        bad = np.any(~np.isfinite(means) | (means > DIVERGED * means[:, :1]), axis=0)
        return int(np.argmax(bad)) if bad.any() else None

    def between_seeds(self, step: int) -> tuple[float, float]:
        """Return the lowest and the highest mean loss of a run after an inner step."""
        means = [float(run.per_task[:, step].mean(dtype=np.float64)) for run in self.runs]
        return min(means), max(means)


@dataclasses.dataclass(frozen=True)
class Collection:
    """What is below a folder.

    Attributes:
        groups: the finished runs by configuration.
        failures: those that failed.
        left_out: why runs are in no group, by their folders.
    """

    groups: list[Group]
    failures: list[Failure]
    left_out: dict[Path, str]


def collect(folder: Path) -> Collection:
    """Return what is known of the runs below a folder.

    Raises:
        UsageError: if there is no run at all.
    """
    runs, failures, left_out = [], [], {}
    for path in sorted({found.parent for found in folder.rglob("config.yaml")}):
        try:
            found = _read(RunDirectory(path))
        except UsageError as error:
            left_out[path] = str(error)
            continue
        if isinstance(found, Run):
            runs.append(found)
        else:
            failures.append(found)
            left_out[path] = f"failed at iteration {found.iteration}"
    if not runs and not left_out:
        raise UsageError(f"runs={folder} has no runs in it: train some, or give the folder that they are in")
    groups: dict[str, list[Run]] = {}
    for run in runs:
        same = {key: value for key, value in run.config.items() if key not in SEEDED}
        groups.setdefault(rundir.digest({**same, "label": run.label}), []).append(run)
    return Collection([Group(group) for group in groups.values()], failures, left_out)


def comparable(groups: Sequence[Group]) -> list[list[Group]]:
    """Return the groups by the list of tasks that they were evaluated on, each best first."""
    lists: dict[str, list[Group]] = {}
    for group in groups:
        lists.setdefault(f"{group.first.tasks_hash} {group.first.per_task.shape}", []).append(group)
    return [sorted(each, key=_last_loss) for each in lists.values()]


def _last_loss(group: Group) -> float:
    loss = float(group.per_task[:, -1].mean())
    return loss if np.isfinite(loss) else np.inf


def _read(run: RunDirectory) -> Run | Failure:
    config, manifest = rundir.read(run)
    try:
        described: Config = {
            "name": str(config["name"]),
            "label": str(config.get("label", run.path.name)),
            "shots": int(config["task"]["shots"]),
            "steps": int(config["learner"]["steps"]),
        }
        if manifest.get("status") == "failed":
            return Failure(**described, iteration=int(manifest["iteration"]))
        if manifest.get("status") != "complete":
            raise UsageError(
                f"{manifest.get('status')} at iteration {manifest.get('iteration')}: the same command goes on"
            )
        return _finished(run, config, manifest, described)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"what it left cannot be read: {error!r}") from error


def _finished(run: RunDirectory, config: Config, manifest: Config, described: Config) -> Run:
    for path in (run.evaluation, run.losses):
        rundir.require_unchanged(run, manifest, path)
    evaluation = json.loads(run.evaluation.read_text())
    with np.load(run.losses, allow_pickle=False) as arrays:
        per_task = arrays["per_task"]
    shape = evaluation["num_tasks"], len(evaluation["steps"])
    if per_task.shape != shape or per_task.dtype.kind != "f":
        raise UsageError(f"{run.losses} is not of this evaluation: its shape is {per_task.shape}")
    return Run(
        path=run.path,
        config=config,
        **described,
        iterations=int(config["training"]["iterations"]),
        milliseconds=float(manifest.get("milliseconds_per_iteration", np.nan)),
        meta_parameters=float(manifest.get("meta_parameters", np.nan)),
        tasks_hash=str(evaluation["tasks_hash"]),
        metric=str(evaluation["metric"]),
        per_task=per_task,
    )

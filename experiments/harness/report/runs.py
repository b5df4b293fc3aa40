"""The runs below a folder, read from what they left on disk, and grouped by configuration."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..config.build import failing_as
from ..config.packages import require
from ..errors import UsageError
from ..runs import arrays, identity, rundir
from ..runs.files import WANDB, read_bytes, require_regular
from ..runs.metrics import LARGEST
from ..runs.rundir import RunDirectory
from ..session.results import LARGEST_EVALUATION
from ..sweeps import definition
from .statistics import Value, estimate

Config = dict[str, Any]

SEEDED = ("seed", *identity.WITHOUT_EFFECT)
"""Settings that runs of one group may differ in."""

DIVERGED = 10.0
"""A mean loss this many times that before adapting counts as diverged, as does one that is not finite."""

SHOWN_VERSIONS = ("metalearn-tf", "tensorflow", "keras", "numpy")


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder.
        config: resolved.
        name: of the experiment.
        label: what tables and figures call it.
        seed: of training.
        shots: support examples a task; None where the task has no such setting.
        steps: inner steps in training.
        iterations: of training.
        milliseconds: of an iteration of training; NaN if not known.
        meta_parameters: learned numbers; NaN if not known.
        training_loss: on query examples, by iteration.
        versions: of the code and the packages that made it.
        tasks_hash: of the evaluation's tasks.
        metric: of the losses.
        per_task: each evaluation task's loss after 0, 1, ... inner steps, ``[T, S+1]``.
    """

    path: Path
    config: Config
    name: str
    label: str
    seed: int
    shots: int | None
    steps: int
    iterations: int
    milliseconds: float
    meta_parameters: float
    training_loss: np.ndarray
    versions: str
    tasks_hash: str
    metric: str
    per_task: np.ndarray

    @property
    def setting(self) -> str:
        """What titles call the tasks: ``sinusoid, 10-shot``."""
        return self.name if self.shots is None else f"{self.name}, {self.shots}-shot"


@dataclasses.dataclass(frozen=True)
class Unused:
    """A run that no number of the report is of: failed, not finished or damaged.

    Attributes:
        path: its folder.
        config: resolved; empty if it cannot be read.
        reason: why it is not used.
        untrusted: whether that is the code that it names.
    """

    path: Path
    config: Config
    reason: str
    untrusted: bool = False


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
    def per_seed(self) -> np.ndarray:
        """Each run's loss, the mean over the tasks, ``[n, S+1]``."""
        return np.asarray([run.per_task.mean(0, dtype=np.float64) for run in self.runs])

    @property
    def diverged(self) -> int | None:
        """The first inner step at which the mean loss of a run counts as diverged; None if none does."""
        means = self.per_seed
        bad = np.any(~np.isfinite(means) | (means > DIVERGED * means[:, :1]), axis=0)
        return int(np.argmax(bad)) if bad.any() else None

    def loss(self, step: int) -> Value | None:
        """Return the mean over seeds after an inner step; None if it diverges or was not evaluated so far."""
        means, diverged = self.per_seed, self.diverged
        known = means.shape[1] if diverged is None else diverged
        return estimate(means[:, step]) if step < known else None

    @property
    def missing(self) -> str:
        """What stands in place of a loss that is None."""
        return "-" if self.diverged is None else f"diverged at {self.diverged}"


@dataclasses.dataclass(frozen=True)
class Collection:
    """What is below a folder.

    Attributes:
        groups: the finished runs by configuration.
        unused: the other runs.
    """

    groups: list[Group]
    unused: list[Unused]


def collect(folder: Path, packages: Sequence[str] = ()) -> Collection:
    """Return what is known of the runs of a sweep, by its folder, or of all below another folder.

    Args:
        folder: of a sweep, or with runs in it.
        packages: that are trusted, whose code runs may name.

    Raises:
        UsageError: if there is no run at all, or none but those that name code of other packages.
    """
    groups: dict[str, dict[int, Run]] = {}
    unused: list[Unused] = []
    for path in _paths(folder):
        run = _read(RunDirectory(path), packages)
        if isinstance(run, Unused):
            unused.append(dataclasses.replace(run, reason=run.reason.replace(f"{folder}/", "")))
            continue
        first = groups.setdefault(configuration(run.config), {}).setdefault(run.seed, run)
        if first is not run:
            unused.append(Unused(path, run.config, f"it repeats {os.path.relpath(first.path, folder)}"))
    if not groups and not unused:
        raise UsageError(f"runs={folder} has no runs in it: train some, or give the folder that they are in")
    if not groups and all(run.untrusted for run in unused):
        raise UsageError(unused[0].reason)
    ordered = [[seeds[seed] for seed in sorted(seeds)] for seeds in groups.values()]
    return Collection([Group(same) for same in ordered], unused)


def _paths(folder: Path) -> list[Path]:
    """Return the folders of a sweep's runs, or all below a folder that is not one of a sweep."""
    jobs = definition.read(folder)
    if jobs:
        return [job.run.path for job in jobs]
    found = sorted({each.parent for each in folder.rglob("config.yaml")})
    # W&B keeps configurations of its own.
    return [path for path in found if WANDB not in path.relative_to(folder).parts]


def configuration(config: Config) -> str:
    """Return what is the same for the runs of one group and no others."""
    same = {key: value for key, value in config.items() if key not in SEEDED}
    return identity.digest({**same, "label": label(config)})


def label(config: Config) -> str:
    """Return what tables and figures call a run; its experiment where that is not said."""
    return str(config.get("label") or config.get("name"))


def comparable(groups: Sequence[Group]) -> list[list[Group]]:
    """Return the groups by the list of tasks that they were evaluated on, each best first."""
    lists: dict[str, list[Group]] = {}
    for group in groups:
        run = group.first
        lists.setdefault(f"{run.tasks_hash} {len(run.per_task)} {run.metric}", []).append(group)
    return [sorted(each, key=_last_loss) for each in lists.values()]


def _last_loss(group: Group) -> tuple[bool, float, str]:
    """Return what to sort by: of two that diverge, the first is the one that does so later."""
    diverged = group.diverged
    rank = float(group.per_seed[:, -1].mean()) if diverged is None else -diverged
    return diverged is not None, rank, group.first.label


def _read(run: RunDirectory, packages: Sequence[str]) -> Run | Unused:
    config: Config = {}
    if not run.path.exists():
        return Unused(run.path, config, "it has not begun: the same command starts it")
    try:
        config, manifest = rundir.read(run, packages)
        with failing_as("what it left cannot be read"):  # a stranger's run may hold anything
            configuration(config)
            try:
                require(config, packages)
            except UsageError as error:
                return Unused(run.path, config, str(error), untrusted=True)
            if manifest["status"] == "complete":
                return _finished(run, config, manifest)
        return Unused(run.path, config, _unfinished(manifest))
    except UsageError as error:
        return Unused(run.path, config, str(error))


def _unfinished(manifest: Config) -> str:
    """Say how far a run came that is not complete, and why not further."""
    place = f"{manifest.get('status')} at iteration {manifest.get('iteration')}"
    if manifest.get("status") == "pruned":
        return f"given up at iteration {manifest.get('iteration')} by its search"
    if manifest.get("status") != "failed":
        return f"{place}: the same command goes on"
    reason = str(manifest.get("error", "")).split(". ")[0]
    return f"{place}: {reason.partition(': ')[2] or reason}".rstrip(": ")


def _finished(run: RunDirectory, config: Config, manifest: Config) -> Run:
    for path in (run.metrics, run.evaluation, run.losses):
        rundir.require_unchanged(run, manifest, path)
    evaluation = json.loads(read_bytes(run.evaluation, LARGEST_EVALUATION))
    per_task = arrays.read(run.losses)["per_task"]
    shape = evaluation["num_tasks"], len(evaluation["steps"])
    if per_task.shape != shape or per_task.dtype.kind != "f" or not per_task.size:
        raise UsageError(f"{run.losses} is not of this evaluation: its shape is {per_task.shape}")
    return Run(
        path=run.path,
        config=config,
        name=str(config["name"]),
        label=label(config),
        seed=int(config["seed"]),
        shots=int(config["task"]["shots"]) if "shots" in config["task"] else None,
        steps=int(config["learner"]["steps"]),
        iterations=int(config["training"]["iterations"]),
        milliseconds=float(manifest.get("milliseconds_per_iteration", np.nan)),
        meta_parameters=float(manifest.get("meta_parameters", np.nan)),
        training_loss=_training_loss(run.metrics),
        versions=_versions(manifest),
        tasks_hash=str(evaluation["tasks_hash"]),
        metric=str(evaluation["metric"]),
        per_task=per_task,
    )


def _training_loss(path: Path) -> np.ndarray:
    """Read one column: to make numbers of all of them takes three times as long."""
    require_regular(path, LARGEST)
    with path.open(newline="") as file:
        column = file.readline().rstrip("\r\n").split(",").index("outer/loss")
        return np.loadtxt(file, delimiter=",", usecols=column, ndmin=1)


def _versions(manifest: Config) -> str:
    packages, code = manifest.get("packages") or {}, manifest.get("code") or {}
    known = [f"{name} {packages[name]}" for name in SHOWN_VERSIONS if name in packages]
    commit = [f"commit {str(code['commit'])[:10]}"] if "commit" in code else []
    digest = [f"code {str(code['digest'])[:8]}"] if "digest" in code else []
    return ", ".join([*known, *commit, *digest, *(["uncommitted changes"] if code.get("changed") else [])])

"""Stored results of runs as data frames; :mod:`experiments.results` describes their columns."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd

from metalearn.evaluation.evaluation import DIVERGED

from ..config.build import failing_as
from ..config.packages import require
from ..errors import UsageError
from ..runs import arrays, identity, metrics, rundir
from ..runs.files import MIB, read_bytes, require_regular
from ..runs.identity import Config
from ..runs.rundir import LARGEST_EVALUATION, RunDirectory
from . import definition

SEEDED = ("seed", *identity.WITHOUT_EFFECT)
"""Settings in which runs of one configuration may differ."""

STEPS = (0, 1, 5, 10)
"""Inner steps with a column in tables, if they were evaluated; the last step always has one."""

SHOWN_VERSIONS = ("metalearn-tf", "tensorflow", "keras", "numpy")

LOSS = "outer/loss"

REASON = 160
"""Largest number of characters of the reason why a run has no results; its manifest has the full text."""

COLUMNS = (
    *("id", "name", "algorithm", "seed", "status", "reason", "iteration", "iterations", "shots"),
    *("inner_steps", "seconds", "milliseconds", "parameters", "metric", "tasks", "tasks_hash"),
    *("diverged_at", "configuration", "versions", "path", "untrusted"),
)
"""Columns that describe all runs."""


@dataclasses.dataclass(frozen=True)
class Collection:
    """Data frames of runs, indexed by the runs' folders relative to the given one.

    Attributes:
        runs: a row for each run, with :data:`COLUMNS`. If ``reason`` is empty, the run has results;
            ``untrusted`` is whether the reason is code of packages that are not trusted.
        settings: a row for each run, with every setting that has an effect, by its dotted path.
        steps: mean, median and fraction diverged over tasks, of runs that are complete, by run and step.
        losses: each task's loss after each step, ``[T, S+1]``, of the same runs.
    """

    runs: pd.DataFrame
    settings: pd.DataFrame
    steps: pd.DataFrame
    losses: dict[str, np.ndarray]


def collect(folder: Path, packages: Sequence[str] | None = None) -> Collection:
    """Return the runs of a sweep, by its folder, or all below another folder.

    Args:
        folder: the folder of a sweep, or any folder with runs.
        packages: the packages whose code runs may name; None for any, because results are read and nothing is
            built.

    Raises:
        UsageError: if there is no run, or none but those that name code of other packages.
    """
    paths = [job.run.path for job in definition.read(folder)] or rundir.below(folder)
    if not paths:
        raise UsageError(f"runs={folder} contains no runs: train some, or give the folder that contains them")
    found = read(paths, folder, packages)
    if found.runs.untrusted.all():
        raise UsageError(found.runs.reason.iloc[0])
    return found


def read(paths: Iterable[Path], folder: Path, packages: Sequence[str] | None = None) -> Collection:
    """Return the runs in some folders, named relative to another one; damaged runs have a reason."""
    rows: dict[str, Config] = {}
    settings: dict[str, Config] = {}
    losses: dict[str, np.ndarray] = {}
    first: dict[object, tuple[str, tuple[int, ...]]] = {}
    for path in paths:
        name = os.path.relpath(path, folder)
        row, settings[name], per_task = _read(RunDirectory(path), packages)
        rows[name] = {**row, "reason": row["reason"].replace(f"{folder}/", "")}
        if per_task is None:
            continue
        losses[name] = per_task
        same, shape = first.setdefault(row["configuration"], (name, per_task.shape))
        earlier, _ = first.setdefault((row["configuration"], row["seed"]), (name, shape))
        if shape != per_task.shape:
            rows[name]["reason"] = f"its evaluation has another shape than that of {same}"
        elif earlier != name:
            rows[name]["reason"] = f"it repeats {earlier}"
    runs = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=[*COLUMNS]).rename_axis("run")
    described = pd.DataFrame.from_dict(settings, orient="index", dtype=object).rename_axis("run")
    return Collection(runs, described, _steps(losses), losses)


def shown_steps(known: Iterable[int]) -> list[int]:
    """Return the inner steps with a column in tables: a few, and the last."""
    steps = [*known]
    return [step for step in steps if step in STEPS or step == steps[-1]]


def label(config: Config) -> str:
    """Return the label of a run in tables and figures, or the name of its experiment if it has none."""
    return str(config.get("label") or config.get("name"))


def training_loss(path: Path) -> np.ndarray:
    """Return the query loss of each training iteration; NaN for entries that are not numbers."""
    require_regular(path, metrics.LARGEST)
    column = pd.read_csv(
        path, usecols=[LOSS], quoting=3, on_bad_lines="skip", encoding_errors="replace", low_memory=False
    )
    return pd.to_numeric(column[LOSS], errors="coerce").to_numpy(np.float64)


def _read(run: RunDirectory, packages: Sequence[str] | None) -> tuple[Config, Config, np.ndarray | None]:
    """Return the description of a run, its settings, and its losses if it is complete."""
    row: Config = {"id": run.path.name, "path": str(run.path), "untrusted": False}
    settings: Config = {}
    if not run.path.exists():
        return {**row, "status": "new", "reason": "it has not started: the same command starts it"}, {}, None
    try:
        config, manifest = rundir.read(run)
        with failing_as("its files cannot be read"):  # an untrusted run may contain anything
            described, found = _described(config, manifest), _settings(config)
            _require_text(described, found)
            row, settings = row | described, found
            if packages is not None:
                row["untrusted"] = True
                require(config, packages)
                row["untrusted"] = False
            if manifest["status"] != "complete":
                return {**row, "reason": _unfinished(manifest)}, settings, None
            evaluated, per_task = _evaluation(run, manifest)
            _require_text(evaluated)
            return {**row, **evaluated, "reason": ""}, settings, per_task
    except UsageError as error:
        return {**row, "status": "damaged", "reason": str(error)}, settings, None


def _require_text(*parts: Config) -> None:
    """Raise ValueError for text that neither a file nor a figure can have: half of a pair of surrogates."""
    json.dumps(parts, ensure_ascii=False).encode()


def _described(config: Config, manifest: Config) -> Config:
    same = {key: value for key, value in config.items() if key not in SEEDED}
    return {
        "name": str(config["name"]),
        "algorithm": label(config),
        "seed": int(config["seed"]),
        "status": str(manifest["status"]),
        "iteration": int(manifest["iteration"]),
        "iterations": int(config["training"]["iterations"]),
        "shots": float(config["task"].get("shots", np.nan)),
        "inner_steps": int(config["learner"]["steps"]),
        "seconds": float((manifest.get("seconds") or {}).get("training", np.nan)),
        "milliseconds": float(manifest.get("milliseconds_per_iteration", np.nan)),
        "parameters": float(manifest.get("meta_parameters", np.nan)),
        "configuration": identity.digest({**same, "label": label(config)}),
        "versions": _versions(manifest),
    }


def _evaluation(run: RunDirectory, manifest: Config) -> tuple[Config, np.ndarray]:
    for path in (run.metrics, run.evaluation, run.losses):
        rundir.require_unchanged(run, manifest, path)
    evaluation = json.loads(read_bytes(run.evaluation, LARGEST_EVALUATION))
    per_task = arrays.read(run.losses)["per_task"]
    shape = evaluation["num_tasks"], len(evaluation["steps"])
    if per_task.shape != shape or per_task.dtype.kind != "f" or not per_task.size:
        raise UsageError(f"{run.losses} does not belong to this evaluation: its shape is {per_task.shape}")
    with run.metrics.open() as file:
        if LOSS not in file.readline(MIB).rstrip("\n").split(","):
            raise UsageError(f"{run.metrics} has no {LOSS}")
    mean = per_task.mean(0, dtype=np.float64)
    diverged = ~np.isfinite(mean) | (mean > DIVERGED * mean[0])
    return {
        "metric": str(evaluation["metric"]),
        "tasks": len(per_task),
        "tasks_hash": str(evaluation["tasks_hash"]),
        "diverged_at": float(np.argmax(diverged)) if diverged.any() else np.nan,
    }, per_task


def _steps(losses: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return mean, median and fraction diverged over tasks, as in :class:`metalearn.Evaluation`."""

    def statistics(per_task: np.ndarray) -> pd.DataFrame:
        before = per_task[:, 0]
        bound = DIVERGED * np.max(before, initial=0.0, where=np.isfinite(before))
        parts = per_task.mean(0, dtype=float), np.median(per_task, 0), np.mean(~(per_task <= bound), 0)
        return pd.DataFrame(np.stack(parts, 1), columns=["mean", "median", "diverged"], dtype=float)

    parts = {run: statistics(per_task) for run, per_task in losses.items()}
    return pd.concat(parts or {"": statistics(np.empty((1, 1)))[:0]}, names=["run", "step"])


def _settings(config: Config) -> Config:
    rest = {key: value for key, value in config.items() if key not in SEEDED}
    return {"label": label(config), **dict(_flat(rest, ""))}


def _flat(node: Config, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield settings by their dotted paths; a ``_target_`` has the path of its node."""
    for key, value in node.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            if "_target_" in value:
                yield path, str(value["_target_"]).rpartition(".")[2]
            yield from _flat({name: part for name, part in value.items() if name != "_target_"}, f"{path}.")
        else:
            yield path, value if isinstance(value, (str, int, float)) else json.dumps(value)


def _unfinished(manifest: Config) -> str:
    """Return how far an incomplete run has come, and why it has not come further."""
    place = f"{manifest['status']} at iteration {manifest['iteration']}"
    if manifest["status"] == "pruned":
        return f"pruned at iteration {manifest['iteration']} by its search"
    if manifest["status"] != "failed":
        return f"{place}: the same command resumes it"
    reason = str(manifest.get("error", "")).split(". ")[0]
    return shorten(f"{place}: {reason.partition(': ')[2] or reason}".rstrip(": "), REASON, placeholder=" ...")


def _versions(manifest: Config) -> str:
    packages, code = manifest.get("packages") or {}, manifest.get("code") or {}
    known = [f"{name} {packages[name]}" for name in SHOWN_VERSIONS if name in packages]
    commit = [f"commit {str(code['commit'])[:10]}"] if "commit" in code else []
    digest = [f"code {str(code['digest'])[:8]}"] if "digest" in code else []
    return ", ".join([*known, *commit, *digest, *(["uncommitted changes"] if code.get("changed") else [])])

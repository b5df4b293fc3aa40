"""Measurements of whole commands: how long a start takes, and what workers on several cores save."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ...harness.cache.compiled import VARIABLE
from .measure import Measurement, ProgramError, Worker, on_cores

COMMAND, LIBRARY, JAX = "metalearn, command", "metalearn", "JAX, jit of scan"
"""Programs whose starts are measured: our command, and the workload here and in JAX."""

STARTS = "first", "later"
"""Starts without and with what earlier ones have stored."""

WIDTH = 40
"""Units of the hidden layers, as in the default training."""

SHORT = ("training.iterations=1", "evaluation.tasks=2")
"""Settings with which a command takes less time after the start of its training."""

BARE = ("diagnostics.interval=null", "tracking=none", "evaluation.tasks=2")
"""Settings with which a command does nothing but train."""

CONV4 = (
    *("experiment=glyphs/maml", "model.filters=64", "task.ways=5", "training.meta_batch_size=32"),
    "run.check_derivatives=false",
)
"""A training on images that takes long enough to be shared."""


def starts(which: str, steps: int, rounds: int, limit_seconds: float) -> list[Measurement]:
    """Measure the start of the default training and of the same in JAX, each in new processes.

    It is the time from the end of the import of TensorFlow or JAX to the first iteration of the command, or
    to the end of the first call of the workload. The command also creates the folder of a run, and makes the
    first diagnosis of the meta-gradient. W&B is opened while it trains.

    Args:
        which: one of :data:`STARTS`.
        steps: the number of inner steps.
        rounds: the number of starts of each program.
        limit_seconds: the time limit of a start of the workload.
    """
    names = [COMMAND, LIBRARY, *([JAX] if importlib.util.find_spec("jax") else [])]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with ExitStack() as folders:
        places: dict[str, Path] = {}
        for number, name in itertools.product(range(rounds + (which == "later")), names):
            if which == "first" or not number:
                places[name] = Path(folders.enter_context(tempfile.TemporaryDirectory()))
            found[name].append(_start(name, steps, places[name], limit_seconds))
    return [_measurement(name, steps, WIDTH, found[name][-rounds:]) for name in names]


def shared(count: int, iterations: int, rounds: int) -> list[Measurement]:
    """Measure a training on images by one process on one core, and by workers on a core each.

    It is the time from the end of TensorFlow's import to the end of the training.
    """
    names = {number: f"metalearn, {number} worker{'s' * (number > 1)}" for number in (1, count)}
    settings = [*CONV4, *BARE, f"training.iterations={iterations}"]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names.values()}
    for _, (number, name) in itertools.product(range(rounds), names.items()):
        with tempfile.TemporaryDirectory() as folder:
            workers = [*settings, f"training.workers={number}"]
            seconds = _seconds(workers, Path(folder), {VARIABLE: "off"}, cores=number)
        found[name].append((seconds["start"] + seconds["training"], np.nan))
    return [_measurement(name, 1, f"iterations={iterations}", each) for name, each in found.items()]


def _measurement(name: str, steps: int, size: int | str, found: Sequence[tuple[float, float]]) -> Measurement:
    seconds, megabytes = np.array(found).T
    nothing = np.full(len(seconds), np.nan)
    return Measurement(name, steps, size, 1e6 * seconds, nothing, megabytes=float(np.median(megabytes)))


def _start(name: str, steps: int, folder: Path, limit_seconds: float) -> tuple[float, float]:
    """Return seconds and megabytes of a start, which stores programs in ``folder`` and uses them."""
    variables = {
        VARIABLE: str(folder),
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    if name == COMMAND:
        settings = [*SHORT, f"learner.steps={steps}"]
        with tempfile.TemporaryDirectory() as runs:
            return _seconds(settings, Path(runs), variables)["start"], np.nan
    worker = Worker(name, steps, WIDTH, "cpu", variables)
    try:
        row = worker.call(limit_seconds)
    finally:
        worker.stop()
    return row["built"] + row["seconds"], row["megabytes"]


def _seconds(
    settings: Sequence[str], runs: Path, variables: Mapping[str, str], cores: int | None = None
) -> dict[str, Any]:
    """Train with some settings and return the run's seconds; on the first of this process's cores, if given.

    Raises:
        ProgramError: if the command fails, with the end of its output.
    """
    train = f"{__package__.partition('.')[0]}.train"
    done = subprocess.run(
        [*on_cores(cores), sys.executable, "-m", train, *settings, f"paths.runs={runs}"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ProgramError((done.stderr or done.stdout).strip()[-300:])
    (manifest,) = runs.glob("*/*/manifest.json")
    seconds: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))["seconds"]
    return seconds

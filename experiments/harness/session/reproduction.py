"""Reproduction: training again from a stored configuration, and comparison with the stored results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import metalearn as ml
from metalearn.callbacks import Call
from metalearn.training.history import History

from ..app.terminal import bar
from ..config import schema
from ..config.build import failing_as
from ..config.preparation import prepare
from ..console import say
from ..errors import BAD_INPUT, FAILED, UsageError
from ..runs import arrays, environment, metrics, provenance, rundir
from ..runs.rundir import RunDirectory
from . import workers
from .results import digest, evaluate

SHOWN = 10
"""Largest number of differences in the environment that are printed."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a comparison.

    Attributes:
        iterations: the number of compared iterations.
        difference: the first difference; None if there is none.
        circumstances: the differences of the environment, the most likely cause first.
    """

    iterations: int
    difference: str | None
    circumstances: list[str]


def reproduce(folder: Path, until: int | None, packages: Sequence[str] = ()) -> int:
    """Compare the run of a folder, or all runs below it; return the exit code: 1 if one differs.

    Args:
        folder: the folder of a run, or one that contains runs.
        until: the iteration up to which to compare; None for the end.
        packages: the packages that the user trusts, whose code runs may name.

    Raises:
        UsageError: if there is no run, or the only one cannot be read.
    """
    paths = rundir.below(folder)
    if not paths:
        raise UsageError(f"run={folder} is not the folder of a run, nor are there any below it")
    if len(paths) == 1:
        return 0 if _compared(paths[0], until, packages) else FAILED
    outcomes = [_attempt(path, until, packages) for path in paths]
    say(f"{sum(map(bool, outcomes))} of {len(outcomes)} runs are the same")
    return BAD_INPUT if None in outcomes else 0 if all(outcomes) else FAILED


def _attempt(path: Path, until: int | None, packages: Sequence[str]) -> bool | None:
    """Return whether a run is reproduced; None, and a message, if it cannot be compared."""
    try:
        return _compared(path, until, packages)
    except UsageError as error:
        say(str(error), "not compared:", "bold red")
        return None


def _compared(path: Path, until: int | None, packages: Sequence[str]) -> bool:
    with failing_as(str(path)):  # an untrusted run may contain anything
        config, _ = rundir.read(RunDirectory(path), packages)
        if workers.unstarted(config):
            order = {"run": str(path), "until": until, "packages": [*packages]}
            return workers.start(config, order) == 0
        return _say(path, compare(RunDirectory(path), until, packages))


def compare(run: RunDirectory, until: int | None = None, packages: Sequence[str] = ()) -> Outcome:
    """Train a run again, up to iteration ``until`` or its end, or up to the first difference.

    Metrics are compared bit by bit; at the end of a complete run also parameters and evaluation.
    """
    config, manifest = rundir.read(run, packages)
    config = schema.check(config)
    if manifest["status"] == "complete":
        rundir.require_unchanged(run, manifest, run.metrics)
    stored = metrics.read(run.metrics)
    rows = len(stored["outer/loss"])
    total = rows if until is None else min(until, rows)
    crew = workers.joined(config)
    trainer = prepare(config, crew)
    with workers.together(config, trainer, crew) as leads:
        difference = _train(trainer, stored, total) if leads else None
    if leads and difference is None and manifest["status"] == "complete" and total == rows:
        difference = _at_the_end(run, config, manifest, trainer)
    now = environment.describe(config)
    then = {**{key: manifest.get(key) for key in now}, "code": provenance.latest(manifest)}
    circumstances = environment.differences(then, now)
    return Outcome(trainer.iteration, difference, circumstances)


def first_difference(first: int, stored: History, again: History) -> str | None:
    """Return the first row and the columns in which two histories differ, and by how much; None if equal.

    Args:
        first: the iteration of the first row, counted from 0.
        stored: arrays of equal length by name.
        again: the arrays of the second training.
    """
    if list(stored) != list(again):
        return (
            f"metrics: there are {', '.join(sorted(set(stored) ^ set(again))) or 'the same in another order'}"
        )
    pairs = {name: (values, again[name].astype(np.float32)) for name, values in stored.items()}
    differs = {name: (a != b) & ~(np.isnan(a) & np.isnan(b)) for name, (a, b) in pairs.items()}
    rows = np.any(list(differs.values()), axis=0)
    if not rows.any():
        return None
    row = int(np.argmax(rows))
    columns = [name for name, wrong in differs.items() if wrong[row]]
    name = columns[0]
    then, now = float(stored[name][row]), float(again[name][row])
    others = f", and {len(columns) - 1} more columns" if len(columns) > 1 else ""
    return f"iteration {first + row}: {name} was {then:.9g}, is {now:.9g} ({now - then:+.2g}){others}"


def _train(trainer: ml.MetaTrainer, stored: History, total: int) -> str | None:
    found: list[str] = []

    def compare(call: Call) -> int | None:
        part = {name: values[call.first : trainer.iteration] for name, values in stored.items()}
        difference = first_difference(call.first, part, call.history)
        found.extend([difference] if difference else [])
        return 0 if difference else None

    try:
        with bar(0, total) as advance:
            trainer.run(total, [ml.callbacks.progress(advance), ml.callbacks.each(compare)])
    except ml.NonFiniteError as error:
        found.append(str(error))
    return found[0] if found else None


def _at_the_end(
    run: RunDirectory, config: dict[str, Any], manifest: dict[str, Any], trainer: ml.MetaTrainer
) -> str | None:
    if digest(trainer.meta) != manifest["parameters_digest"]:
        return f"the parameters: their digest was {manifest['parameters_digest']}, is {digest(trainer.meta)}"
    rundir.require_unchanged(run, manifest, run.losses)
    per_task = arrays.read(run.losses)["per_task"]
    if not np.array_equal(evaluate(config, trainer).per_task, per_task, equal_nan=True):
        return "the evaluation, of equal parameters"
    return None


def _say(path: Path, outcome: Outcome) -> bool:
    if outcome.difference is None:
        say(f"{path}, {outcome.iterations} iterations, bit for bit", "same:", "bold green")
    else:
        say(f"{path}, {outcome.difference}", "differs:", "bold red")
    if outcome.circumstances:
        say("Other differences, the most likely cause first:")
    for line in outcome.circumstances[:SHOWN]:
        say(f"  {line}")
    if len(outcome.circumstances) > SHOWN:
        say(f"  and {len(outcome.circumstances) - SHOWN} more")
    return outcome.difference is None

"""A training session: from a configuration to a finished, or interrupted, run folder."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import metalearn as ml
from experiments.harness import checkpoints, metrics, rundir
from experiments.harness.build import build_tracker, build_trainer
from experiments.harness.cli import INTERRUPTED
from experiments.harness.results import conclude, show
from experiments.harness.rundir import RunDirectory
from experiments.harness.terminal import Bar, brief, say
from experiments.harness.tracking import Tracker
from metalearn.derivatives import names

Config = dict[str, Any]

CALL_SECONDS = 0.5
"""A compiled call is as many iterations as take about so long: Ctrl-C and the bar wait for no more."""


def train(config: Config) -> int:
    """Train, evaluate and draw; resume an interrupted run; show a finished one. Return the exit code."""
    run = rundir.locate(config)
    manifest = rundir.read_manifest(run)
    if manifest and manifest["status"] == "complete":
        say(f"[bold]complete[/] since {manifest['end']}: {run.path} (run.fresh=true starts anew beside it)")
        show(run)
        return 0
    started = time.perf_counter()
    trainer = build_trainer(config)
    if manifest:
        _resume(run, trainer)
    else:
        rundir.create(run, config)
    brief(config, trainer, str(run.path))
    tracker = build_tracker(config, run)
    try:
        training_seconds, speed = _train(run, trainer, tracker, config)
        if training_seconds is None:
            tracker.finish(exit_code=INTERRUPTED)
            rundir.update_manifest(run, status="interrupted", iteration=trainer.iteration, end=rundir.now())
            say(f"interrupted at iteration {trainer.iteration}; go on with: {rundir.command()}")
            return INTERRUPTED
        conclude(run, trainer, tracker, config)
    except ml.NonFiniteError as error:
        metrics.append(run.metrics, error.iteration - len(error.history["outer/loss"]), error.history)
        return _fail(run, trainer, tracker, str(error))
    tracker.finish()
    total = time.perf_counter() - started
    rundir.update_manifest(
        run,
        status="complete",
        iteration=trainer.iteration,
        end=rundir.now(),
        parameters_digest=digest(trainer.meta),
        seconds={"training": round(training_seconds, 2), "total": round(total, 2)},
        milliseconds_per_iteration=speed,
        meta_parameters=sum(leaf.shape.num_elements() for leaf in tf.nest.flatten(trainer.meta)),
    )
    say(f"training took {training_seconds:.1f} s, everything {total:.1f} s; all of it is in {run.path}")
    return 0


def digest(meta: ml.types.Meta) -> str:
    """Return the SHA-256 of the meta-parameters' names, types, shapes and bits."""
    total = hashlib.sha256()
    for name, leaf in zip(names(meta), tf.nest.flatten(meta), strict=True):
        total.update(f"{name} {leaf.dtype.name} {leaf.shape}".encode() + leaf.numpy().tobytes())
    return total.hexdigest()


def _resume(run: RunDirectory, trainer: ml.MetaTrainer) -> None:
    newest = checkpoints.newest(run.checkpoints)
    if newest:
        checkpoints.restore(trainer, newest)
    metrics.truncate(run.metrics, trainer.iteration)
    rundir.update_manifest(run, status="running", end=None)
    say(f"resuming {run.path} at iteration {trainer.iteration}")


def _train(
    run: RunDirectory, trainer: ml.MetaTrainer, tracker: Tracker, config: Config
) -> tuple[float | None, float]:
    """Train; return the seconds it took (None if interrupted before) and the milliseconds an iteration.

    The latter are the median over compiled calls, without those that compile.
    """
    total = config["training"]["iterations"]
    start = saved = time.perf_counter()
    count, speeds = 1, [0.0]
    with _interruptible() as interrupted, Bar(trainer.iteration, total) as bar:
        while trainer.iteration < total and not interrupted:
            first, began = trainer.iteration, time.perf_counter()
            history = trainer.run(min(count, total - first))
            seconds = time.perf_counter() - began
            metrics.append(run.metrics, first, history)
            tracker.log(first, history, trainer.last_gradient, seconds)
            bar.advance(trainer.iteration, history)
            if count > 1:
                speeds.append(1000 * seconds / len(history["outer/loss"]))
            # The first call compiles: it says nothing of the speed.
            count = 10 if count == 1 else int(np.clip(count * CALL_SECONDS / seconds, 1, 2 * count))
            if time.perf_counter() - saved > config["run"]["checkpoint_seconds"]:
                checkpoints.save(run.checkpoints, trainer.state())
                saved = time.perf_counter()
        checkpoints.save(run.checkpoints, trainer.state())
    milliseconds = round(float(np.median(speeds[1:] or speeds)), 4)
    return None if trainer.iteration < total else time.perf_counter() - start, milliseconds


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one kills as usual."""
    received: list[int] = []

    def receive(number: int, _: object) -> None:
        received.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    previous = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _fail(run: RunDirectory, trainer: ml.MetaTrainer, tracker: Tracker, reason: str) -> int:
    path = checkpoints.save(run.checkpoints, trainer.state())
    tracker.finish(exit_code=1)
    rundir.update_manifest(run, status="failed", iteration=trainer.iteration, end=rundir.now(), error=reason)
    say(f"[bold red]stopped:[/] {reason}")
    say(f"the last good state is kept in {Path(path)}")
    return 1

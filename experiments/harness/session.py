"""A training session: from a configuration to a finished, or interrupted, run folder."""

from __future__ import annotations

import hashlib
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import metalearn as ml
from experiments.harness import checkpoints, metrics, rundir
from experiments.harness.build import build_tracker, build_trainer
from experiments.harness.cli import INTERRUPTED, UsageError, command
from experiments.harness.diagnosis import Diagnoses
from experiments.harness.files import write_atomically
from experiments.harness.interrupts import interruptible
from experiments.harness.lock import held
from experiments.harness.results import conclude, draw_story, restore, show
from experiments.harness.rundir import RunDirectory
from experiments.harness.terminal import Bar, brief, say
from experiments.harness.tracking import Tracker
from experiments.harness.validation import Report, Validation
from metalearn.nest import names

Config = dict[str, Any]

CALL_SECONDS = 0.5
"""A compiled call is as many iterations as take about so long: Ctrl-C and the bar wait for no more."""


def train(config: Config, report: Report | None = None) -> int:
    """Train, evaluate and draw; resume an interrupted run; show a finished one. Return the exit code.

    Args:
        config: resolved.
        report: of validation losses; it can say that the run is to be given up.
    """
    run = rundir.locate(config)
    manifest = rundir.read_manifest(run)
    if manifest and manifest["status"] == "complete":
        _require_own(run, config, manifest)
        say(f"[bold]complete[/] since {manifest['end']}: {run.path} (run.fresh=true starts anew beside it)")
        show(run, manifest)
        return 0
    trainer = build_trainer(config)  # before anything is written: what cannot be built leaves no trace
    rundir.make(run)
    try:
        with held(run.path):
            return _go_on(run, config, trainer, report)
    except OSError as error:
        say(
            f"[bold red]stopped:[/] {error.filename or run.path}: {error.strerror or error}. What was kept "
            f"before is whole; when this is mended, go on with: {command()}"
        )
        return 1


def _go_on(run: RunDirectory, config: Config, trainer: ml.MetaTrainer, report: Report | None) -> int:
    """Train from where the run is to its end."""
    started = time.perf_counter()
    manifest = rundir.read_manifest(run)
    if manifest is None:
        rundir.create(run, config)
    else:
        _require_own(run, config, manifest)
        _resume(run, trainer, manifest)
    brief(config, trainer, str(run.path))
    tracker = build_tracker(config, run)
    try:
        validation = Validation(trainer, run.validation, tracker, config, report)
        training_seconds, speed = _train(run, trainer, tracker, config, validation)
        if validation.hopeless:
            return _give_up(run, trainer, tracker, validation)
        if training_seconds is None:
            tracker.finish(exit_code=INTERRUPTED)
            rundir.update_manifest(run, status="interrupted", iteration=trainer.iteration, end=rundir.now())
            say(f"interrupted at iteration {trainer.iteration}; go on with: {command()}")
            return INTERRUPTED
        validation.at_the_end()
        conclude(run, trainer, tracker, config)
        tracker.finish()
        total = time.perf_counter() - started
        rundir.update_manifest(
            run,
            status="complete",
            iteration=trainer.iteration,
            end=rundir.now(),
            parameters_digest=digest(trainer.meta),
            files=rundir.checksums(run),
            seconds={"training": round(training_seconds, 2), "total": round(total, 2)},
            milliseconds_per_iteration=speed,
            validation_loss=_finite(validation.loss),
            meta_parameters=sum(leaf.shape.num_elements() for leaf in tf.nest.flatten(trainer.meta)),
        )
    except ml.NonFiniteError as error:
        metrics.append(run.metrics, error.iteration - len(error.history["outer/loss"]), error.history)
        return _fail(run, trainer, tracker, config, str(error))
    except OSError:
        raise
    except Exception as error:  # a fault, ours or of what we use: the run says so, and can go on when mended
        write_atomically(run.error, lambda file: file.write(traceback.format_exc().encode()))
        reason = f"{type(error).__name__}: {error}"
        rundir.update_manifest(run, status="failed", end=rundir.now(), error=reason)
        raise
    finally:
        tracker.finish(exit_code=1)  # does nothing where it is finished
    say(f"training took {training_seconds:.1f} s, everything {total:.1f} s; all of it is in {run.path}")
    return 0


def digest(meta: ml.types.Meta) -> str:
    """Return the SHA-256 of the meta-parameters' names, types, shapes and bits."""
    total = hashlib.sha256()
    for name, leaf in zip(names(meta), tf.nest.flatten(meta), strict=True):
        total.update(f"{name} {leaf.dtype.name} {leaf.shape}".encode() + leaf.numpy().tobytes())
    return total.hexdigest()


def _require_own(run: RunDirectory, config: Config, manifest: Config) -> None:
    if manifest["identity"] != rundir.identity(config):
        raise UsageError(f"{run.manifest} is of another run; run.fresh=true starts beside it")


def _resume(run: RunDirectory, trainer: ml.MetaTrainer, manifest: Config) -> None:
    def accept(state: checkpoints.State) -> None:
        restore(trainer, state)
        for path in run.appended:
            metrics.go_back(path, state)

    if not checkpoints.recover(run.checkpoints, manifest["identity"], accept):
        for path in run.appended:
            path.unlink(missing_ok=True)
    resumed = [*manifest["resumed"], {"at": rundir.now(), "iteration": trainer.iteration}]
    run.error.unlink(missing_ok=True)
    rundir.update_manifest(run, status="running", end=None, resumed=resumed, error=None, diverged=False)
    say(f"resuming {run.path} at iteration {trainer.iteration}")


def _save(run: RunDirectory, trainer: ml.MetaTrainer, config: Config) -> Path:
    state = trainer.state()
    for path in run.appended:
        state |= metrics.position(path)
    return checkpoints.save(run.checkpoints, rundir.identity(config), state)


def _train(
    run: RunDirectory, trainer: ml.MetaTrainer, tracker: Tracker, config: Config, validate: Validation
) -> tuple[float | None, float]:
    """Train; return the seconds it took (None if interrupted before) and the milliseconds an iteration.

    The latter are the median over compiled calls, without those that compile.
    """
    total = config["training"]["iterations"]
    start = saved = time.perf_counter()
    count, speeds = 1, [0.0]
    diagnose = Diagnoses(trainer, run.diagnostics, tracker, config["diagnostics"]["interval"])

    def last_words() -> None:
        rundir.update_manifest(run, status="interrupted", end=rundir.now())
        say(f"interrupted; go on with: {command()}")

    with interruptible(last_words) as interrupted, Bar(trainer.iteration, total) as bar:
        while trainer.iteration < total and not interrupted:
            limits = [limit for limit in (diagnose(), validate()) if limit]
            if validate.hopeless:
                break
            first, began = trainer.iteration, time.perf_counter()
            history = trainer.run(min(count, total - first, *limits))
            seconds = time.perf_counter() - began
            metrics.append(run.metrics, first, history)
            tracker.log(first, history, trainer.last_gradient, seconds)
            bar.advance(trainer.iteration, history)
            if count > 1:
                speeds.append(1000 * seconds / len(history["outer/loss"]))
            # The first call compiles: it says nothing of the speed.
            count = 10 if count == 1 else int(np.clip(count * CALL_SECONDS / seconds, 1, 2 * count))
            if time.perf_counter() - saved > config["run"]["checkpoint_seconds"]:
                _save(run, trainer, config)
                saved = time.perf_counter()
        _save(run, trainer, config)
    rundir.update_manifest(run, diagnosis_seconds=round(diagnose.seconds, 2))
    milliseconds = round(float(np.median(speeds[1:] or speeds)), 4)
    return None if trainer.iteration < total else time.perf_counter() - start, milliseconds


def _give_up(run: RunDirectory, trainer: ml.MetaTrainer, tracker: Tracker, validation: Validation) -> int:
    tracker.finish()
    rundir.update_manifest(
        run,
        status="pruned",
        iteration=trainer.iteration,
        end=rundir.now(),
        validation_loss=_finite(validation.loss),
    )
    loss = f"{validation.loss:.4g}"
    say(f"given up at iteration {trainer.iteration}: its validation loss is {loss}, others had less there")
    return 0


def _finite(loss: float) -> float | None:
    """Return a loss as JSON can have it."""
    return loss if np.isfinite(loss) else None


def _fail(run: RunDirectory, trainer: ml.MetaTrainer, tracker: Tracker, config: Config, reason: str) -> int:
    path = _save(run, trainer, config)
    rundir.update_manifest(
        run, status="failed", iteration=trainer.iteration, end=rundir.now(), error=reason, diverged=True
    )
    tracker.divergence(f"{run.path}: {reason}")
    tracker.figures(draw_story(run, config))
    say(f"[bold red]stopped:[/] {reason}")
    say(f"the last good state is kept in {path}")
    return 1

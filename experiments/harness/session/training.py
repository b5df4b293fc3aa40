"""A training session: from a configuration to a finished, or interrupted, run folder."""

from __future__ import annotations

import dataclasses
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import metalearn as ml

from ..app.interrupts import interruptible
from ..app.terminal import Bar, brief
from ..config.build import build_tracker
from ..config.preparation import prepare
from ..console import say
from ..errors import FAILED, INTERRUPTED, UsageError
from ..invocation import command
from ..runs import checkpoints, files, identity, metrics, rundir
from ..runs.files import write_atomically
from ..runs.lock import Lock, locked
from ..runs.rundir import RunDirectory
from ..tracking.trackers import Tracker
from .diagnosis import Diagnoses
from .results import conclude, digest, draw_story
from .resumption import require_own, require_same_code, resume, show_complete
from .validation import Report, Validation

Config = dict[str, Any]

CALL_SECONDS = 0.5
"""A compiled call is as many iterations as take about so long: Ctrl-C and the bar wait for no more."""


def train(config: Config, report: Report | None = None) -> int:
    """Train, evaluate and draw; resume an interrupted run; show a finished one. Return the exit code.

    A run that is trained and asked to be evaluated otherwise is evaluated, and not trained again.

    Args:
        config: resolved.
        report: of validation losses; it can say that the run is to be given up.
    """
    run = rundir.locate(config)
    manifest = rundir.read_manifest(run)
    if manifest is not None:
        require_own(run, config, manifest)
        if manifest["status"] == "complete" and identity.same_evaluation(manifest["afterwards"], config):
            return show_complete(run, config, manifest)
        require_same_code(run, config, manifest)
    trainer = prepare(config)  # before anything is written: what cannot be built leaves no trace
    rundir.make(run)
    files.require_plain_folder(run.path)
    try:
        with locked(run.path) as lock:
            files.sweep(run.path)
            return _go_on(run, config, trainer, lock, report)
    except OSError as error:
        say(
            f"{error.filename or run.path}: {error.strerror or error}. What was kept before is whole; when "
            f"this is mended, go on with: {command()}",
            "stopped:",
            "bold red",
        )
        return FAILED


def _go_on(
    run: RunDirectory, config: Config, trainer: ml.MetaTrainer, lock: Lock, report: Report | None
) -> int:
    """Train from where the run is to its end, and evaluate."""
    started = time.perf_counter()
    manifest = rundir.read_manifest(run)
    if manifest is None:
        rundir.create(run, config)
    else:
        require_own(run, config, manifest)
        resume(run, trainer, config, manifest)
    brief(config, trainer, str(run.path))
    tracker = build_tracker(config, run)
    session = _Session(run, config, trainer, tracker, lock)
    try:
        return session.work(report, started)
    except ml.NonFiniteError as error:
        return session.fail(error)
    except KeyboardInterrupt:
        return session.stop()
    except (OSError, UsageError):
        raise
    except Exception as error:  # a fault, ours or of what we use: the run says so, and can go on when mended
        lock.require()
        write_atomically(run.error, lambda file: file.write(traceback.format_exc().encode(errors="replace")))
        rundir.update_manifest(
            run, status="failed", end=rundir.now(), error=f"{type(error).__name__}: {error}"
        )
        raise
    finally:
        tracker.finish(exit_code=1)  # does nothing where it is finished


@dataclasses.dataclass(frozen=True)
class _Session:
    """A run that is being worked on.

    Attributes:
        run: its folder.
        config: resolved.
        trainer: at the iteration from which to go on.
        tracker: that is told.
        lock: of the folder; without it nothing is written.
    """

    run: RunDirectory
    config: Config
    trainer: ml.MetaTrainer
    tracker: Tracker
    lock: Lock

    def work(self, report: Report | None, started: float) -> int:
        """Train and evaluate; return the exit code."""
        self._compare()
        validation = Validation(self.trainer, self.run.validation, self.tracker, self.config, report)
        first = self.trainer.iteration
        seconds, speed = self._train(validation)
        if validation.pruned:
            return self._give_up(validation)
        if seconds is None:
            return self.stop()
        self._note(status="trained", parameters_digest=digest(self.trainer.meta))
        if self.trainer.iteration > first:  # otherwise it was trained before, in another time
            self._note(seconds={"training": round(seconds, 2)}, milliseconds_per_iteration=speed)
        with interruptible(self._last_words):
            validation.at_the_end()
            self.lock.require()
            conclude(self.run, self.trainer, self.tracker, self.config)
            self.tracker.finish()
            total = time.perf_counter() - started
            known = (rundir.read_manifest(self.run) or {}).get("seconds", {})
            self._note(
                status="complete",
                end=rundir.now(),
                files=rundir.checksums(self.run),
                seconds={**known, "total": round(total, 2)} if self.trainer.iteration > first else known,
                validation_loss=_finite(validation.loss),
                meta_parameters=sum(leaf.shape.num_elements() for leaf in tf.nest.flatten(self.trainer.meta)),
            )
        say(f"training took {seconds:.1f} s, everything {total:.1f} s; all of it is in {self.run.path}")
        return 0

    def _compare(self) -> None:
        """Hold the program to eager execution before it is used; a run that fails there says so."""
        try:
            self.trainer.compare()
        except ValueError as error:
            self._note(status="failed", end=rundir.now(), error=str(error))
            raise UsageError(f"training: {error}") from error
        found = self.trainer.derivatives
        self._note(
            program={"mapping": self.trainer.mapping, "xla": self.trainer.jit_compile},
            derivatives={
                **({} if found is None else found._asdict()),
                "disagreement": self.trainer.disagreement,
            },
        )

    def stop(self) -> int:
        """Leave the run as interrupted."""
        self.tracker.finish(exit_code=INTERRUPTED)
        self._last_words()
        return INTERRUPTED

    def fail(self, error: ml.NonFiniteError) -> int:
        """Keep the last good state of a run that has diverged."""
        self.lock.require()
        metrics.append(self.run.metrics, error.iteration - len(error.history["outer/loss"]), error.history)
        self._diagnoses().at_the_end()
        path = self._save()
        self._note(status="failed", end=rundir.now(), error=str(error), diverged=True)
        self.tracker.divergence(f"{self.run.path}: {error}")
        self.tracker.figures(draw_story(self.run, self.config))
        say(str(error), "stopped:", "bold red")
        say(f"the last good state is kept in {path}")
        return FAILED

    def _train(self, validate: Validation) -> tuple[float | None, float]:
        """Train; return the seconds it took (None if interrupted before) and the milliseconds an iteration.

        The latter are the median over compiled calls, without those that compile.
        """
        trainer, total = self.trainer, self.config["training"]["iterations"]
        start = saved = time.perf_counter()
        count, speeds, diagnose = 1, [0.0], self._diagnoses()
        with interruptible(self._last_words) as interrupted, Bar(trainer.iteration, total) as bar:
            while trainer.iteration < total and not interrupted:
                self.lock.require()
                limits = [limit for limit in (diagnose(), validate()) if limit]
                if validate.pruned:
                    break
                first, began = trainer.iteration, time.perf_counter()
                history = trainer.run(min(count, total - first, *limits))
                seconds = time.perf_counter() - began
                self.lock.require()
                metrics.append(self.run.metrics, first, history)
                self.tracker.log(first, history, trainer.last_gradient, seconds)
                bar.advance(trainer.iteration, history)
                if count > 1:
                    speeds.append(1000 * seconds / len(history["outer/loss"]))
                # The first call compiles: it says nothing of the speed.
                count = 10 if count == 1 else int(np.clip(count * CALL_SECONDS / seconds, 1, 2 * count))
                if time.perf_counter() - saved > self.config["run"]["checkpoint_seconds"]:
                    self._save()
                    saved = time.perf_counter()
            if trainer.iteration >= total:
                diagnose.at_the_end()
            self._save()
        if diagnose.seconds:
            self._note(diagnosis_seconds=round(diagnose.seconds, 2))
        milliseconds = round(float(np.median(speeds[1:] or speeds)), 4)
        return None if trainer.iteration < total else time.perf_counter() - start, milliseconds

    def _diagnoses(self) -> Diagnoses:
        interval = self.config["diagnostics"]["interval"]
        return Diagnoses(self.trainer, self.run.diagnostics, self.tracker, interval)

    def _save(self) -> Path:
        """Write a checkpoint, and its iteration into the manifest."""
        self.lock.require()
        state = self.trainer.state()
        for path in self.run.appended:
            state |= metrics.position(path)
        saved = checkpoints.save(self.run.checkpoints, identity.training(self.config), state)
        self._note(iteration=self.trainer.iteration)
        return saved

    def _note(self, **changes: Any) -> None:
        self.lock.require()
        rundir.update_manifest(self.run, **changes)

    def _last_words(self) -> None:
        self._note(status="interrupted", end=rundir.now())
        iteration = (rundir.read_manifest(self.run) or {}).get("iteration")
        say(f"interrupted; kept up to iteration {iteration}; go on with: {command()}")

    def _give_up(self, validation: Validation) -> int:
        self.tracker.finish()
        self._note(status="pruned", end=rundir.now(), validation_loss=_finite(validation.loss))
        iteration, loss = self.trainer.iteration, f"{validation.loss:.4g}"
        say(f"given up at iteration {iteration}: its validation loss is {loss}, others had less there")
        return 0


def _finite(loss: float) -> float | None:
    """Return a loss as JSON can have it."""
    return loss if np.isfinite(loss) else None

"""A training session: from a configuration to the folder of a finished or interrupted run."""

from __future__ import annotations

import dataclasses
import time
import traceback
from concurrent.futures import Future

import numpy as np
import tensorflow as tf

import metalearn as ml
from metalearn.callbacks import Call, Callback, CallbackError, each, progress

from ..app.interrupts import interruptible
from ..app.quiet import start_seconds
from ..app.terminal import bar, brief
from ..cache import compiled
from ..config.build import build_callbacks, build_tracker
from ..config.preparation import prepare
from ..console import say, say_error
from ..errors import FAILED, INTERRUPTED, UsageError
from ..invocation import resuming
from ..runs import files, identity, rundir
from ..runs.identity import Config
from ..runs.lock import locked
from . import workers
from .diagnosis import Diagnoses, Found, begun
from .evolution import Evolution
from .pictures import draw_story
from .results import conclude, digest, finite
from .resumption import require_own, require_same_code, resume, show_complete
from .session import Session
from .validation import Report, Validation


def train(config: Config, report: Report | None = None) -> int:
    """Train, evaluate and draw; resume an interrupted run; show a finished one. Return the exit code.

    A trained run that is requested with other evaluation settings is evaluated, and not trained again.

    Args:
        config: the resolved configuration.
        report: receives validation losses, and returns whether the run is to be pruned.
    """
    try:
        return _train_shared(config, report)
    except ml.WorkerLostError as error:
        say_error(str(error), "stopped:")
        return FAILED


def _train_shared(config: Config, report: Report | None) -> int:
    """Train with the workers that share the run: as chief, as another worker, or after starting them."""
    run = rundir.locate(config)
    manifest = rundir.read_manifest(run)
    if manifest is not None:
        require_own(run, config, manifest)
        if manifest["status"] == "complete" and identity.same_evaluation(manifest["afterwards"], config):
            return show_complete(run, config, manifest)
        require_same_code(run, config, manifest)
    if workers.unstarted(config):
        if report is not None:
            raise UsageError(
                "a search can prune runs of a single process only: set training.workers=1, or start the "
                "workers yourself (TF_CONFIG, srun)"
            )
        return workers.start(config, {"config": config})
    crew = workers.joined(config)
    trainer = prepare(config, crew)  # before anything is written: what cannot be built leaves no trace
    trainer.build()  # before workers wait for each other
    if crew is not None and crew.index:
        return workers.follow(config, trainer, crew)
    callbacks = build_callbacks(config)
    with rundir.writing(run.path):
        files.require_plain_folder(run.path)
    try:
        with locked(run.path) as lock, workers.together(config, trainer, crew):
            files.sweep(run.path)
            return _go_on(Session(run, config, trainer, lock, callbacks), report)
    except OSError as error:
        say(
            f"{error.filename or run.path}: {error.strerror or error}. What was stored before is valid; once "
            f"this is fixed, resume with: {resuming()}",
            "stopped:",
            "bold red",
        )
        return FAILED


def _go_on(session: Session, report: Report | None) -> int:
    """Train a run from its present iteration to its end, and evaluate it."""
    started = time.perf_counter()
    run, config, trainer = session.run, session.config, session.trainer
    manifest = rundir.read_manifest(run)
    if manifest is not None:
        require_own(run, config, manifest)
        resume(session, manifest)
    ahead = begun(session)
    if manifest is None:
        rundir.create(run, config)
    brief(config, trainer, str(run.path))
    session = dataclasses.replace(session, tracker=build_tracker(config, run, trainer.iteration))
    try:
        return _work(session, report, started, ahead)
    except ml.NonFiniteError as error:
        return _fail(session, error)
    except KeyboardInterrupt:
        session.tracker.finish(exit_code=INTERRUPTED)
        session.leave()
        return INTERRUPTED
    except ml.WorkerLostError:
        session.tracker.finish(exit_code=FAILED)
        session.leave()
        raise
    except (OSError, UsageError):
        raise
    except Exception as error:  # an error in the code: the run records it, and can be resumed after a fix
        session.lock.require()
        files.write_bytes(run.error, traceback.format_exc().encode(errors="replace"))
        session.note(status="failed", end=rundir.now(), error=f"{type(error).__name__}: {error}")
        if not isinstance(error, CallbackError):
            raise
        say(f"{error}; {run.error} has the traceback", "stopped:", "bold red")
        return FAILED
    finally:
        session.tracker.finish(exit_code=1)  # does nothing where it is finished


def _work(session: Session, report: Report | None, started: float, ahead: Future[Found] | None) -> int:
    """Train and evaluate; return the exit code."""
    trainer, first = session.trainer, session.trainer.iteration
    _compare(session)
    compiled.keep()
    validation = Validation(session, report)
    seconds = _train(session, Diagnoses(session, ahead), validation)
    if validation.pruned:
        return _give_up(session, validation)
    session.note(status="trained", parameters_digest=digest(trainer.meta))
    with interruptible(session.leave):
        validation.at_the_end()
        session.lock.require()
        conclude(session)
        session.tracker.finish()
        total = time.perf_counter() - started
        known = (rundir.read_manifest(session.run) or {}).get("seconds", {})
        session.note(
            status="complete",
            end=rundir.now(),
            files=rundir.checksums(session.run),
            seconds={**known, "total": round(total, 2)} if trainer.iteration > first else known,
            validation_loss=finite(validation.loss),
            meta_parameters=sum(leaf.shape.num_elements() for leaf in tf.nest.flatten(trainer.meta)),
        )
    say(f"training took {seconds:.1f} s, the command {total:.1f} s; all files are in {session.run.path}")
    return 0


def _compare(session: Session) -> None:
    """Compare the compiled program with eager execution before it is used; record an error in the run."""
    trainer = session.trainer
    try:
        trainer.compare()
    except ValueError as error:
        session.note(status="failed", end=rundir.now(), error=str(error))
        raise UsageError(f"training: {error}") from error
    found = {} if trainer.derivatives is None else trainer.derivatives._asdict()
    if found:  # no number where kinks are everywhere
        found["error"] = finite(found["error"])
    session.note(
        program={"mapping": trainer.mapping, "xla": trainer.jit_compile},
        derivatives={**found, "disagreement": trainer.disagreement},
    )


def _train(session: Session, diagnoses: Diagnoses, validation: Validation) -> float:
    """Train, and return the duration in seconds.

    The milliseconds per iteration are the median over compiled calls, without the first, which compiles.

    Raises:
        KeyboardInterrupt: if the user interrupts the training.
    """
    trainer, total = session.trainer, session.config["training"]["iterations"]
    started = saved = time.perf_counter()
    speeds, start = list[float](), dict[str, float]()

    def record(call: Call) -> None:
        if not speeds:
            start.update(start_seconds(until=time.perf_counter() - call.seconds))
        session.record(call)
        speeds.append(1000 * call.seconds / call.iterations)

    def leave(_: Call) -> None:
        if interrupted:  # before diagnoses and validation, which may take longer than there is time
            session.save()
            raise KeyboardInterrupt

    def save(_: Call) -> None:  # after them: what a checkpoint has is not made again
        nonlocal saved
        if time.perf_counter() - saved > session.config["run"]["checkpoint_seconds"]:
            session.save()
            saved = time.perf_counter()

    session.lock.require()
    with interruptible(session.leave) as interrupted, bar(trainer.iteration, total) as advance:
        between: list[Callback[ml.MetaTrainer]] = [each(record), progress(advance)]
        between += [each(leave), diagnoses, validation, Evolution(session), *session.callbacks, each(save)]
        try:
            if trainer.iteration < total and not _stopped(session):
                trainer.run(total - trainer.iteration, between)
        except CallbackError as failed:  # what one of ours failed with says how the run ends
            if any(failed.callback is callback for callback in session.callbacks):
                session.save()
                raise
            raise (failed.__cause__ or failed) from None
        if not validation.pruned:
            diagnoses.diagnose()
            if trainer.iteration < total:
                session.note(stopped=trainer.iteration)
                say(f"ended by a callback at iteration {trainer.iteration} of {total}")
        session.save()
    seconds = time.perf_counter() - started
    spent: Config = {"diagnosis_seconds": round(diagnoses.seconds, 2)} if diagnoses.seconds else {}
    if speeds:  # otherwise it was trained before, in another time
        speed = round(float(np.median(speeds[1:] or speeds)), 4)
        spent |= {"seconds": {**start, "training": round(seconds, 2)}, "milliseconds_per_iteration": speed}
    session.note(**spent)
    return seconds


def _stopped(session: Session) -> bool:
    """Return whether a callback has ended the training here; the run may have been killed later."""
    return (rundir.read_manifest(session.run) or {}).get("stopped") == session.trainer.iteration


def _fail(session: Session, error: ml.NonFiniteError) -> int:
    """Store the last valid state of a run that has diverged."""
    Diagnoses(session).diagnose()
    path = session.save()
    session.note(status="failed", end=rundir.now(), error=str(error), diverged=True)
    session.tracker.divergence(f"{session.run.path}: {error}")
    session.tracker.figures(draw_story(session.run, session.config))
    say(str(error), "stopped:", "bold red")
    say(f"the last valid state is kept in {path}")
    return FAILED


def _give_up(session: Session, validation: Validation) -> int:
    session.tracker.finish()
    session.note(status="pruned", end=rundir.now(), validation_loss=finite(validation.loss))
    iteration, loss = session.trainer.iteration, f"{validation.loss:.4g}"
    say(f"pruned at iteration {iteration}: its validation loss is {loss}, other trials had a lower one there")
    return 0

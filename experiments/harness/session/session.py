"""The state that the parts of a session share: a run of this process, its trainer and its trackers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import metalearn as ml
from metalearn.callbacks import Call, Callback

from ..console import say
from ..invocation import resuming
from ..runs import checkpoints, identity, metrics, rundir
from ..runs.lock import Lock
from ..runs.rundir import RunDirectory
from ..tracking.trackers import NoTracker, Tracker


@dataclasses.dataclass(frozen=True)
class Session:
    """A run of this process.

    Attributes:
        run: the folder of the run.
        config: the resolved configuration.
        trainer: the trainer at the iteration from which the run continues.
        lock: the lock of the folder; without it nothing is written.
        callbacks: the callbacks of the user.
        tracker: the tracker that the run is logged to.
    """

    run: RunDirectory
    config: dict[str, Any]
    trainer: ml.MetaTrainer
    lock: Lock
    callbacks: Sequence[Callback[ml.MetaTrainer]] = ()
    tracker: Tracker = dataclasses.field(default_factory=NoTracker)

    def note(self, **changes: Any) -> None:
        """Change entries of the manifest."""
        self.lock.require()
        rundir.update_manifest(self.run, **changes)

    def record(self, call: Call) -> None:
        """Write the rows of a compiled call, and pass them to the tracker."""
        self.lock.require()
        metrics.append(self.run.metrics, call.first, call.history)
        self.tracker.log(call.first, call.history, self.trainer.last_gradient, call.seconds)

    def save(self) -> Path:
        """Write a checkpoint, and its iteration into the manifest; return its path."""
        self.lock.require()
        self.tracker.flush()  # a resumed run does not log the iterations before the checkpoint again
        state = self.trainer.state()
        for path in self.run.appended:
            state |= metrics.position(path)
        saved = checkpoints.save(self.run.checkpoints, identity.training(self.config), state)
        self.note(iteration=self.trainer.iteration)
        return saved

    def leave(self) -> None:
        """Record that the run is interrupted, and print the command that resumes it."""
        self.note(status="interrupted", end=rundir.now())
        iteration = (rundir.read_manifest(self.run) or {}).get("iteration")
        say(f"interrupted; kept up to iteration {iteration}; resume with: {resuming()}")

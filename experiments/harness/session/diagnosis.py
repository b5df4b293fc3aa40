"""Diagnoses of the meta-gradient during training: between compiled calls, on the next tasks."""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf

import metalearn as ml
from metalearn.callbacks import Call, Watch

from ..console import say
from ..runs import metrics
from .session import Session


class Diagnoses:
    """A callback that diagnoses the meta-gradient before the iterations that are multiples of an interval.

    It does not change the trainer: training has the same bits with and without it. Its program is separate
    and is built at the first diagnosis. If a learner cannot be diagnosed, this is reported, and it is
    trained.

    Attributes:
        seconds: the time that diagnoses have taken, without the compilation of the training.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._interval = session.config["diagnostics"]["interval"]
        self.seconds = 0.0
        self._last = metrics.last_iteration(session.run.diagnostics)

    def begin(self, trainer: ml.MetaTrainer, end: int) -> Watch:
        """See :class:`metalearn.callbacks.Callback`."""

        def called(_: Call | None) -> int | None:
            if self._interval is not None and trainer.iteration % self._interval == 0:
                self.diagnose()
            return None if self._interval is None else self._interval - trainer.iteration % self._interval

        return Watch(called, limit=called(None))

    def diagnose(self) -> None:
        """Diagnose the present iterate, unless this has been done, or diagnoses are disabled for the run."""
        trainer = self._session.trainer
        if self._interval is None or self._last == trainer.iteration:
            return
        if trainer.last_gradient is None:
            next_update(trainer)  # compiles the training, which has to be done anyway
        began = time.perf_counter()
        try:
            self._report(trainer.iteration)
        except ValueError as error:  # a model that trains without second derivatives may have none
            say(str(error), "no diagnoses of this run:", "yellow")
            self._interval = None
            return
        self._last = trainer.iteration
        self.seconds += time.perf_counter() - began

    def _report(self, iteration: int) -> None:
        trainer = self._session.trainer
        seed = tf.constant([trainer.seed, iteration])
        batch = trainer.meta, trainer.training_tasks(iteration), seed
        learned = ml.diagnostics.learned_values(trainer.learner, trainer.meta)
        found = {
            **ml.diagnostics.diagnose(trainer.learner, *batch, cache=trainer.cache),
            **ml.diagnostics.learned_statistics(learned),
            **next_update(trainer),
        }
        row = {name: float(value) for name, value in found.items()}
        path, tracker = self._session.run.diagnostics, self._session.tracker
        metrics.append(path, iteration, {name: np.array([value]) for name, value in row.items()})
        tracker.diagnosis(iteration, row, {name: value.numpy() for name, value in learned.items()})


def next_update(trainer: ml.MetaTrainer) -> dict[str, tf.Tensor]:
    """Return :func:`metalearn.diagnostics.update_ratios` of the next update of a trainer.

    They are NaN if the update is not finite.
    """
    before, _ = trainer.learner.parts(trainer.meta)
    nothing = tf.nest.map_structure(lambda leaf: leaf * np.nan, before)
    after, gradient = trainer.next_update() or (nothing, nothing)
    return ml.diagnostics.update_ratios(before, after, gradient)

"""Validation during training: the loss on tasks that differ from those of training and of the evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import metalearn as ml
from metalearn.callbacks import Call, Watch

from ..config.build import failing_as
from ..config.preparation import number, tasks_of
from ..runs import metrics
from .session import Session

COLUMN = "validation/loss"

Report = Callable[[int, float], bool]
"""Takes iteration and loss, and returns whether the run is to be pruned."""


class Validation:
    """A callback that validates the meta-parameters at multiples of an interval, and may stop the training.

    Attributes:
        loss: the newest loss; NaN before the first.
        pruned: whether the run was pruned.
    """

    def __init__(self, session: Session, report: Report | None) -> None:
        """Prepare the validation; nothing is computed if ``validation.interval`` is null.

        Raises:
            UsageError: if the tasks do not fit.
        """
        self._session, self._report = session, report
        settings = session.config["validation"]
        self._interval = settings["interval"]
        self.loss = np.nan
        self.pruned = False
        if self._interval is None:
            return
        self._last = metrics.last_iteration(session.run.validation)
        tasks = tasks_of(session.config, "validation")
        count = number(tasks, settings["tasks"])
        with failing_as("validation"):
            chosen = count, settings["steps"], settings["seed"]
            trainer = session.trainer
            self._evaluate = ml.evaluator(trainer.learner, tasks, *chosen, cache=trainer.cache)

    def begin(self, trainer: ml.MetaTrainer, end: int) -> Watch:
        """See :class:`metalearn.callbacks.Callback`."""

        def called(_: Call | None) -> int | None:
            if self._interval is None:
                return None
            if 0 < trainer.iteration < end and trainer.iteration % self._interval == 0:
                self._validate()
                self.pruned = self._report is not None and self._report(trainer.iteration, self.loss)
            return 0 if self.pruned else self._interval - trainer.iteration % self._interval

        return Watch(called, limit=called(None))

    def at_the_end(self) -> None:
        """Validate a trained run, if validation is enabled."""
        if self._interval is not None:
            self._validate()

    def _validate(self) -> None:
        iteration = self._session.trainer.iteration
        self.loss = float(self._evaluate(self._session.trainer.meta).mean[-1])
        if iteration != self._last:  # a resumed run has that row
            metrics.append(self._session.run.validation, iteration, {COLUMN: np.array([self.loss])})
            self._session.tracker.diagnosis(iteration, {COLUMN: self.loss}, {})
        self._last = iteration

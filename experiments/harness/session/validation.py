"""Validation while a run goes on: the loss on tasks that are neither of training nor of the evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import metalearn as ml

from ..config.preparation import number, tasks_of
from ..errors import UsageError
from ..runs import metrics
from ..tracking.trackers import Tracker

Config = dict[str, Any]

COLUMN = "validation/loss"

Report = Callable[[int, float], bool]
"""Takes iteration and loss, and returns whether the run is to be pruned."""


class Validation:
    """Validates a trainer's meta-parameters when that is due.

    Attributes:
        loss: the newest; NaN before the first.
        pruned: whether the report said so.
    """

    def __init__(
        self, trainer: ml.MetaTrainer, path: Path, tracker: Tracker, config: Config, report: Report | None
    ) -> None:
        """Prepare; nothing is computed where ``validation.interval`` is null.

        Raises:
            UsageError: if the tasks do not fit.
        """
        self._trainer, self._path, self._tracker, self._report = trainer, path, tracker, report
        self._interval = config["validation"]["interval"]
        self.loss = np.nan
        self.pruned = False
        if self._interval is None:
            return
        settings, tasks = config["validation"], tasks_of(config, "validation")
        try:
            self._evaluate = ml.evaluator(
                trainer.learner,
                tasks,
                number(tasks, settings["tasks"]),
                settings["steps"],
                settings["seed"],
            )
        except ValueError as error:
            raise UsageError(f"validation: {error}") from error

    def __call__(self) -> int | None:
        """Validate if an interval ends here; return the iterations there are before the next one does."""
        if self._interval is None:
            return None
        iteration = self._trainer.iteration
        if iteration and iteration % self._interval == 0:
            self._validate()
            if self._report is not None:
                self.pruned = self._report(iteration, self.loss)
        return self._interval - iteration % self._interval

    def at_the_end(self) -> None:
        """Validate a run that is trained, if it is validated at all."""
        if self._interval is not None:
            self._validate()

    def _validate(self) -> None:
        self.loss = float(self._evaluate(self._trainer.meta).mean[-1])
        metrics.append(self._path, self._trainer.iteration, {COLUMN: np.array([self.loss])})
        self._tracker.diagnosis(self._trainer.iteration, {COLUMN: self.loss}, {})

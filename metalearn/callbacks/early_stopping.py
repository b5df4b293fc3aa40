"""Ending a training whose loss no longer decreases."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import numpy as np

from metalearn.checks import require_count, require_finite
from metalearn.evaluation import evaluator
from metalearn.sources import Source
from metalearn.training.calling import Call, Limit, Watch
from metalearn.training.state import State
from metalearn.training.trainer import MetaTrainer

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class validation:
    """The loss after ``steps`` inner steps on a fixed list of tasks, see :func:`metalearn.evaluate`.

    Args:
        tasks: the source of the tasks; it should share neither classes nor examples with the training.
        num_tasks: at least 1.
        steps: at least 0.
        seed: of the list of tasks.
    """

    tasks: Source
    num_tasks: int = 500
    steps: int = 1
    seed: int = 2

    def of(self, trainer: MetaTrainer) -> Callable[[], float]:
        """Return a function that evaluates the current meta-parameters of a trainer."""
        settings = self.num_tasks, self.steps, self.seed
        evaluate = evaluator(trainer.learner, self.tasks, *settings, cache=trainer.cache)
        return lambda: float(evaluate(trainer.meta).mean[-1])


@dataclasses.dataclass(frozen=True)
class early_stopping:
    """Stop a training if its loss has not decreased ``patience`` times in a row, compared at an interval.

    Args:
        validation: the tasks to evaluate on; None for the query loss of the training, averaged over the
            interval.
        patience: number of comparisons in a row without a new smallest loss before the training stops.
        interval: number of iterations between two comparisons.
        min_delta: the smallest decrease that counts.
        restore_best: at the end of the training, restore the state of the trainer with the smallest loss,
            including the optimizer. Callbacks that need that state must come after this one.

    Raises:
        ValueError: if a count is not an integer of at least 1, or ``min_delta`` not a finite number.
    """

    validation: validation | None = None
    patience: int = 10
    interval: int = 500
    min_delta: float = 0.0
    restore_best: bool = False

    def __post_init__(self) -> None:
        require_count("patience", self.patience)
        require_count("interval", self.interval)
        require_finite("min_delta", self.min_delta)

    def begin(self, trainer: MetaTrainer, end: int) -> Watch:
        """See :class:`metalearn.callbacks.Callback`."""
        validate = self.validation and self.validation.of(trainer)
        best, at, waited = np.inf, trainer.iteration, 0
        state: State | None = None
        losses: list[np.ndarray] = []

        def judge(loss: float) -> Limit:
            nonlocal best, at, state, waited
            if loss < best - self.min_delta:
                best, at, waited = loss, trainer.iteration, 0
                state = trainer.state() if self.restore_best else None
                return left()
            waited += 1
            if waited < self.patience:
                return left()
            _log.info("stopped at iteration %d: smallest loss %.4g, at %d", trainer.iteration, best, at)
            return 0

        def left() -> int:
            return self.interval - trainer.iteration % self.interval

        def called(call: Call) -> Limit:
            losses.append(call.history["outer/loss"])
            if trainer.iteration % self.interval:
                return left()
            loss = validate() if validate else float(np.concatenate(losses).mean())
            losses.clear()
            return judge(loss)

        def ended() -> None:
            if state is not None and trainer.iteration != at:
                trainer.restore(state)

        return Watch(called, ended, left())

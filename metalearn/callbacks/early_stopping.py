"""The end of a training whose loss no longer falls."""

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
    """The loss after ``steps`` inner steps on fresh tasks, always the same, see :func:`metalearn.evaluate`.

    Args:
        tasks: source to draw from; neither the classes nor the examples of the training.
        num_tasks: at least 1.
        steps: at least 0.
        seed: of the list of tasks.
    """

    tasks: Source
    num_tasks: int = 500
    steps: int = 1
    seed: int = 2

    def of(self, trainer: MetaTrainer) -> Callable[[], float]:
        """Return what evaluates a trainer's meta-parameters of the moment."""
        evaluate = evaluator(trainer.learner, self.tasks, self.num_tasks, self.steps, self.seed)
        return lambda: float(evaluate(trainer.meta).mean[-1])


@dataclasses.dataclass(frozen=True)
class early_stopping:
    """Stop a training whose loss has not fallen for a while. The loss is judged at multiples of an interval.

    Args:
        validation: on which tasks; None for the query loss of the training, averaged over the interval.
        patience: times in a row that the loss may not be less than the least before.
        interval: iterations.
        min_delta: by how much it has to be less.
        restore_best: in the end, take the trainer back to the iteration with the least loss, optimizer
            included, however the training ends. Callbacks that are to see that state come after this one.

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
            _log.info("stopped at iteration %d: the least loss, %.4g, was at %d", trainer.iteration, best, at)
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

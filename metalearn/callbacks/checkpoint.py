"""Saving meta-parameters during training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from metalearn.checks import require_count
from metalearn.saving import save
from metalearn.training.calling import Call, Limit, Watch
from metalearn.training.trainer import MetaTrainer


@dataclasses.dataclass(frozen=True)
class checkpoint:
    """Save the meta-parameters at multiples of an interval and at the end, also after an error.

    The file is written by :func:`metalearn.save`, completely or not at all, and ``ml.load`` reads it. To
    resume a training with the same bits, use ``trainer.state()``, which includes the state of the optimizer.

    Args:
        path: of the file, which is replaced each time; if it contains ``{iteration}``, every save has its own
            file.
        interval: number of iterations.

    Raises:
        ValueError: if the interval is not an integer of at least 1.
    """

    path: str | Path
    interval: int = 1000

    def __post_init__(self) -> None:
        require_count("interval", self.interval)

    def begin(self, trainer: MetaTrainer, end: int) -> Watch:
        """See :class:`metalearn.callbacks.Callback`."""
        saved: int | None = None

        def keep() -> None:
            nonlocal saved
            if saved != trainer.iteration:
                path = str(self.path).replace("{iteration}", str(trainer.iteration))
                save(path, trainer.meta, trainer.learner)
                saved = trainer.iteration

        def left() -> int:
            return self.interval - trainer.iteration % self.interval

        def called(call: Call) -> Limit:
            if trainer.iteration % self.interval == 0:
                keep()
            return left()

        return Watch(called, keep, left())

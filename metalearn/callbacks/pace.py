"""Compiled calls of a given duration, so that a training can be displayed and interrupted."""

from __future__ import annotations

import dataclasses

import numpy as np

from metalearn.checks import require_positive
from metalearn.training.calling import Call, Limit, Watch
from metalearn.training.trainer import MetaTrainer


@dataclasses.dataclass(frozen=True)
class pace:
    """Choose the number of iterations of compiled calls such that a call takes about ``seconds``.

    Displays and Ctrl-C wait for the end of a call. The first call has one iteration, because it may compile;
    each later call has at most twice as many iterations as the one before.

    Args:
        seconds: the duration of a call.

    Raises:
        ValueError: if ``seconds`` is not a finite number above 0.
    """

    seconds: float = 0.5

    def __post_init__(self) -> None:
        require_positive("seconds", self.seconds)

    def begin(self, trainer: MetaTrainer, end: int) -> Watch:
        """See :class:`metalearn.callbacks.Callback`."""
        wanted = 1

        def called(call: Call) -> Limit:
            nonlocal wanted
            fitting = call.iterations * self.seconds / max(call.seconds, 1e-9)
            # The first call includes compilation, so its time is not a measure of the speed.
            wanted = 10 if wanted == 1 else int(np.clip(fitting, 1, 2 * wanted))
            return wanted

        return Watch(called, limit=wanted)

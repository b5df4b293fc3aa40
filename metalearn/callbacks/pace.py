"""Compiled calls of about a length in time, so that a training can be watched and interrupted."""

from __future__ import annotations

import dataclasses

import numpy as np

from metalearn.checks import require_positive
from metalearn.training.calling import Call, Limit, Watch
from metalearn.training.trainer import MetaTrainer


@dataclasses.dataclass(frozen=True)
class pace:
    """Have compiled calls take about so long: displays and Ctrl-C wait for no more.

    The first call is one iteration, for it may compile; those that follow are at most twice as long as the
    one before.

    Args:
        seconds: of a call.

    Raises:
        ValueError: if they are not a finite number above 0.
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
            # The first call compiles: it says nothing of the speed.
            wanted = 10 if wanted == 1 else int(np.clip(fitting, 1, 2 * wanted))
            return wanted

        return Watch(called, limit=wanted)

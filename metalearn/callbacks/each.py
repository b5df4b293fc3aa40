"""A function as a callback."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from metalearn.training.calling import Call, Limit, Watch
from metalearn.training.trainer import MetaTrainer


@dataclasses.dataclass(frozen=True)
class each:
    """Call a function after each compiled call: ``each(lambda call: print(call.history["outer/loss"][-1]))``.

    Args:
        function: takes a :class:`metalearn.callbacks.Call`; returns the largest number of iterations before
            its next call, 0 to stop the training, or None for any number.
    """

    function: Callable[[Call], Limit]

    def begin(self, trainer: MetaTrainer, end: int) -> Watch:
        """See :class:`metalearn.callbacks.Callback`."""
        return Watch(self.function)

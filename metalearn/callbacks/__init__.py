"""What follows a training, ``trainer.run(n, callbacks=[...])``: progress, early stopping, files.

A callback is a frozen record with ``begin``, see :class:`Callback`; one of your own needs no more::

    @dataclasses.dataclass(frozen=True)
    class stop_below:
        loss: float

        def begin(self, trainer, end):
            return ml.callbacks.Watch(lambda call: 0 if call.history["outer/loss"][-1] < self.loss else None)
"""

from metalearn.callbacks.checkpoint import checkpoint
from metalearn.callbacks.csv import csv
from metalearn.callbacks.early_stopping import early_stopping, validation
from metalearn.callbacks.pace import pace
from metalearn.callbacks.progress import progress
from metalearn.training.calling import Call, Callback, Watch
from metalearn.training.errors import CallbackError

__all__ = [
    "Call",
    "Callback",
    "CallbackError",
    "Watch",
    "checkpoint",
    "csv",
    "early_stopping",
    "pace",
    "progress",
    "validation",
]

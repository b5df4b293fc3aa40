"""Callbacks of a training, ``trainer.run(n, callbacks=[...])``: progress, early stopping, files.

A callback is a frozen record with a method ``begin``, see :class:`Callback`; :class:`each` makes one from a
function.
"""

from metalearn.callbacks.checkpoint import checkpoint
from metalearn.callbacks.csv import csv
from metalearn.callbacks.each import each
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
    "each",
    "early_stopping",
    "pace",
    "progress",
    "validation",
]

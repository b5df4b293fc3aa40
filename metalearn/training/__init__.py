"""Meta-training: many iterations in one compiled call."""

from metalearn.training.calling import Call, Callback, Watch
from metalearn.training.errors import CallbackError, NonFiniteError, WorkerLostError
from metalearn.training.program import LOSSES
from metalearn.training.trainer import MetaTrainer

__all__ = [
    "LOSSES",
    "Call",
    "Callback",
    "CallbackError",
    "MetaTrainer",
    "NonFiniteError",
    "Watch",
    "WorkerLostError",
]

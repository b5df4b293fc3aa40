"""Meta-training: many iterations in one compiled call."""

from metalearn.training.errors import NonFiniteError
from metalearn.training.program import LOSSES
from metalearn.training.trainer import MetaTrainer

__all__ = ["LOSSES", "MetaTrainer", "NonFiniteError"]

"""Meta-training: many iterations in one compiled call."""

from metalearn.training.trainer import MetaTrainer, NonFiniteError

__all__ = ["MetaTrainer", "NonFiniteError"]

"""Meta-learning research in TensorFlow: gradients through learning, proven right."""

from metalearn import (
    derivatives,
    diagnostics,
    estimators,
    functional,
    heads,
    layers,
    losses,
    models,
    rules,
    step_weights,
    tasks,
)
from metalearn.evaluation import Evaluation, evaluate
from metalearn.learner import MetaLearner
from metalearn.training import MetaTrainer, NonFiniteError
from metalearn.types import Batch, Task

__all__ = [
    "Batch",
    "Evaluation",
    "MetaLearner",
    "MetaTrainer",
    "NonFiniteError",
    "Task",
    "derivatives",
    "diagnostics",
    "estimators",
    "evaluate",
    "functional",
    "heads",
    "layers",
    "losses",
    "models",
    "rules",
    "step_weights",
    "tasks",
]

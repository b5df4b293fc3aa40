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
from metalearn.evaluation import Evaluation, evaluate, evaluator
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
    "evaluator",
    "functional",
    "heads",
    "layers",
    "losses",
    "models",
    "rules",
    "step_weights",
    "tasks",
]

"""Meta-learning research in TensorFlow 2 and Keras 3: tested gradients through training."""

from metalearn import (
    attacks,
    autodiff,
    callbacks,
    diagnostics,
    estimators,
    losses,
    metrics,
    problems,
    rules,
    testing,
    types,
)
from metalearn import autodiff as derivatives
from metalearn import compression as compress
from metalearn import sources as tasks
from metalearn.evaluation import Curve, Evaluation, evaluate, evaluator
from metalearn.nn import functional, heads, layers, models
from metalearn.problems import BilevelLearner, BilevelProblem, Learner, MetaLearner, step_weights
from metalearn.saving import load, save
from metalearn.training import MetaTrainer, NonFiniteError, WorkerLostError, workers
from metalearn.types import Adaptation, Batch, Inner, MetaGradient, Problem, Rule, Task

__version__ = "0.1.0"

__all__ = [
    "Adaptation",
    "Batch",
    "BilevelLearner",
    "BilevelProblem",
    "Curve",
    "Evaluation",
    "Inner",
    "Learner",
    "MetaGradient",
    "MetaLearner",
    "MetaTrainer",
    "NonFiniteError",
    "Problem",
    "Rule",
    "Task",
    "WorkerLostError",
    "__version__",
    "attacks",
    "autodiff",
    "callbacks",
    "compress",
    "derivatives",
    "diagnostics",
    "estimators",
    "evaluate",
    "evaluator",
    "functional",
    "heads",
    "layers",
    "load",
    "losses",
    "metrics",
    "models",
    "problems",
    "rules",
    "save",
    "step_weights",
    "tasks",
    "testing",
    "types",
    "workers",
]


def __dir__() -> list[str]:
    """Return only the public names."""
    return sorted(__all__)

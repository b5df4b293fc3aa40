"""Meta-learning research in TensorFlow: gradients through learning, proven right."""

from metalearn import autodiff, diagnostics, estimators, losses, rules, types
from metalearn import autodiff as derivatives
from metalearn import sources as tasks
from metalearn.evaluation import Evaluation, evaluate, evaluator
from metalearn.nn import functional, heads, layers, models
from metalearn.problems import step_weights
from metalearn.problems.few_shot import MetaLearner
from metalearn.training import MetaTrainer, NonFiniteError
from metalearn.types import Batch, Task

__all__ = [
    "Batch",
    "Evaluation",
    "MetaLearner",
    "MetaTrainer",
    "NonFiniteError",
    "Task",
    "autodiff",
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
    "types",
]

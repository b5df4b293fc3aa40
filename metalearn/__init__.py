"""Meta-learning research in TensorFlow: gradients through learning, proven right."""

from metalearn import autodiff, diagnostics, estimators, losses, problems, rules, types
from metalearn import autodiff as derivatives
from metalearn import sources as tasks
from metalearn.evaluation import Evaluation, evaluate, evaluator
from metalearn.nn import functional, heads, layers, models
from metalearn.problems import BilevelLearner, BilevelProblem, MetaLearner, step_weights
from metalearn.training import MetaTrainer, NonFiniteError
from metalearn.types import Batch, Inner, MetaGradient, Task

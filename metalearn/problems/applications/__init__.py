"""Applications of gradients through learning: each a function that returns a learner of its problem."""

from metalearn.problems.applications.cleaning import cleaning
from metalearn.problems.applications.distillation import distillation
from metalearn.problems.applications.logistic import logistic
from metalearn.problems.applications.ridge import ridge

__all__ = ["cleaning", "distillation", "logistic", "ridge"]

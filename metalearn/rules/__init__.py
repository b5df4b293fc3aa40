"""Differentiable inner update rules: pure functions, so that gradients flow through them.

Every hyperparameter of every rule may be a number, a Keras schedule (called with the inner step), or
:func:`learned`: then it is one of the meta-parameters.
"""

from metalearn.rules.adadelta import adadelta
from metalearn.rules.adagrad import adagrad
from metalearn.rules.adam import adam
from metalearn.rules.adamax import adamax
from metalearn.rules.adamw import adamw
from metalearn.rules.alfa import alfa
from metalearn.rules.clip_by_global_norm import clip_by_global_norm
from metalearn.rules.clip_by_value import clip_by_value
from metalearn.rules.hyperparameters import learned
from metalearn.rules.meta_curvature import meta_curvature
from metalearn.rules.momentum import momentum
from metalearn.rules.nadam import nadam
from metalearn.rules.nesterov import nesterov
from metalearn.rules.rmsprop import rmsprop
from metalearn.rules.sgd import sgd
from metalearn.rules.weight_decay import weight_decay

__all__ = [
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "alfa",
    "clip_by_global_norm",
    "clip_by_value",
    "learned",
    "meta_curvature",
    "momentum",
    "nadam",
    "nesterov",
    "rmsprop",
    "sgd",
    "weight_decay",
]

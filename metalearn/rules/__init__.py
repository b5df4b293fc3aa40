"""Differentiable inner update rules: frozen records of pure functions, through which gradients flow.

Every hyperparameter of every rule may be a number, a Keras schedule (called with the inner step), or
:func:`learned`: then it is one of the meta-parameters. Rules of equal settings are equal, settings can be
read (``sgd(0.1).learning_rate``), and ``repr`` can be pasted back. Where a rule wraps another, the name of
that one stands for it with its default settings (:func:`get`).
"""

from metalearn.rules.adadelta import adadelta
from metalearn.rules.adagrad import adagrad
from metalearn.rules.adam import adam
from metalearn.rules.adamax import adamax
from metalearn.rules.adamw import adamw
from metalearn.rules.alfa import alfa
from metalearn.rules.clip_by_global_norm import clip_by_global_norm
from metalearn.rules.clip_by_value import clip_by_value
from metalearn.rules.hypergradient import hypergradient
from metalearn.rules.keras_optimizer import to_keras
from metalearn.rules.kfo import kfo
from metalearn.rules.learnable import Learned, learned
from metalearn.rules.learned_mlp import learned_mlp
from metalearn.rules.learned_rnn import learned_rnn
from metalearn.rules.lookup import get
from metalearn.rules.meta_curvature import meta_curvature
from metalearn.rules.momentum import momentum
from metalearn.rules.nadam import nadam
from metalearn.rules.nesterov import nesterov
from metalearn.rules.rmsprop import rmsprop
from metalearn.rules.sgd import sgd
from metalearn.rules.weight_decay import weight_decay

__all__ = [
    "Learned",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "alfa",
    "clip_by_global_norm",
    "clip_by_value",
    "get",
    "hypergradient",
    "kfo",
    "learned",
    "learned_mlp",
    "learned_rnn",
    "meta_curvature",
    "momentum",
    "nadam",
    "nesterov",
    "rmsprop",
    "sgd",
    "to_keras",
    "weight_decay",
]

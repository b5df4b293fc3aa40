"""Differentiable inner update rules: frozen records of pure functions.

Every hyperparameter of every rule may be a number, a Keras schedule (called with the inner step), or
:func:`learned`, which makes it a meta-parameter. Rules with equal settings are equal, settings can be read
(``sgd(0.1).learning_rate``), and ``repr`` is valid Python. A rule that wraps another one also accepts the
name of that rule, which stands for its default settings (:func:`get`).

>>> adam(0.01) == adam(learning_rate=0.01), clip_by_value("sgd", 1.0)
(True, clip_by_value(rule=sgd(learning_rate=0.01), limit=1.0))
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

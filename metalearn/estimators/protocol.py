"""What an estimator is, and what all of them end with."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from metalearn.bilevel import BilevelProblem
from metalearn.types import Meta, MetaGradient, Parameters, Task

Estimator = Callable[[BilevelProblem, Meta, Task], MetaGradient]
"""``(problem, meta, tasks) -> MetaGradient``; leaves of ``tasks`` are ``[T, N, ...]``."""


def average(losses: tf.Tensor, gradients: Meta, adapted: Parameters) -> MetaGradient:
    """Return the meta-gradient of a batch, given each task's loss, gradient and theta_K."""
    mean = tf.nest.map_structure(lambda leaf: tf.reduce_mean(leaf, axis=0), gradients)
    return MetaGradient(loss=losses, gradient=mean, per_task=gradients, adapted=adapted)

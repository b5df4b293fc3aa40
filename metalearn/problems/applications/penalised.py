"""The common part of regressions with learned penalties."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.estimators import Estimator, checkpointed
from metalearn.problems.bilevel import BilevelProblem
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.types import Batch, Meta, Parameters, Rule, Structure, Task


def penalised(
    features: int,
    loss: Callable[[Parameters, Batch], tf.Tensor],
    judged: Callable[[Parameters, Batch], Structure],
    rule: Rule,
    steps: int,
    estimator: Estimator | None,
    log_l2: float,
) -> BilevelLearner:
    """Return a learner of a penalty for each weight of a linear model.

    ::

        inner loss = loss(w; support) + 1/2 sum_d exp(log_l2_d) w_d^2,   w_0 = 0
        outer loss = judged(w_K; query)

    Args:
        features: D, the number of weights ``theta["w"]``.
        loss: ``(theta, examples) -> scalar``.
        judged: ``(theta, examples) -> scalar``, or ``(scalar, {name: scalar to report})``.
        rule: the inner update rule.
        steps: K.
        estimator: the estimator of the gradient with respect to ``phi = {"log_l2": [D]}``;
            ``checkpointed()`` for None.
        log_l2: the initial logarithm of each penalty.

    Raises:
        ValueError: if a number is out of range.
    """
    require_count("features", features)

    def inner_loss(theta: Parameters, phi: Meta, examples: Batch, model: Structure) -> tf.Tensor:
        penalty = tf.reduce_sum(tf.exp(phi["log_l2"]) * tf.square(theta["w"])) / 2
        return loss(theta, examples) + penalty

    def outer_loss(theta: Parameters, phi: Meta, task: Task, model: Structure) -> Structure:
        return judged(theta, task.query)

    problem = BilevelProblem(
        start=lambda phi, task: {"w": tf.zeros_like(phi["log_l2"])},
        inner_loss=inner_loss,
        outer_loss=outer_loss,
        rule=rule,
        steps=steps,
    )
    phi = {"log_l2": tf.fill([features], tf.constant(log_l2, keras.config.floatx()))}
    return BilevelLearner(problem, estimator or checkpointed(), phi)

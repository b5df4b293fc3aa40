"""Logistic regression whose penalties, one a feature, are learned by the loss on other examples."""

from __future__ import annotations

import keras
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.estimators import Estimator, checkpointed
from metalearn.problems.applications.classifier import require_classes
from metalearn.problems.bilevel import BilevelProblem
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.types import Batch, Meta, Parameters, Rule, Structure, Task


def logistic(
    features: int, rule: Rule, steps: int = 100, estimator: Estimator | None = None, log_l2: float = 0.0
) -> BilevelLearner:
    """Return the learner of the penalties of a logistic regression.

    ::

        inner loss = 1/N sum_n CE(y_n, w x_n) + 1/2 sum_d exp(log_l2_d) w_d^2,   w_0 = 0
        outer loss = 1/M sum_m CE(y_m, w_K x_m)                                  over query examples

    with the cross-entropy ``CE(y, z) = log(1 + exp z) - y z``. The outer loss reports ``accuracy``.

    Args:
        features: D, of inputs ``[N, D]``; targets are the integers 0 and 1, ``[N]``.
        rule: the inner update.
        steps: K.
        estimator: of the gradient with respect to ``phi = {"log_l2": [D]}``; ``checkpointed()`` unless given.
        log_l2: the logarithm of each penalty before training.

    Raises:
        ValueError: if a number is out of range; when it meets its tasks, if a class is neither 0 nor 1.

    Reference: Grazzi et al. (2020), "On the Iteration Complexity of Hypergradient Computation", section 5;
    the example "logistic regression" of Betty (Choe et al. 2023).
    """
    require_count("features", features)

    def judged(theta: Parameters, examples: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        logits, targets = tf.linalg.matvec(examples.inputs, theta["w"]), examples.targets
        require_classes("logistic", targets, 2)
        losses = tf.nn.softplus(logits) - tf.cast(targets, logits.dtype) * logits
        right = tf.equal(logits > 0, tf.equal(targets, 1))
        return tf.reduce_mean(losses), tf.reduce_mean(tf.cast(right, logits.dtype))

    def inner_loss(theta: Parameters, phi: Meta, examples: Batch, model: Structure) -> tf.Tensor:
        penalty = tf.reduce_sum(tf.exp(phi["log_l2"]) * tf.square(theta["w"])) / 2
        return judged(theta, examples)[0] + penalty

    def outer_loss(theta: Parameters, phi: Meta, task: Task, model: Structure) -> Structure:
        loss, accuracy = judged(theta, task.query)
        return loss, {"accuracy": accuracy}

    problem = BilevelProblem(
        start=lambda phi, task: {"w": tf.zeros_like(phi["log_l2"])},
        inner_loss=inner_loss,
        outer_loss=outer_loss,
        rule=rule,
        steps=steps,
    )
    phi = {"log_l2": tf.fill([features], tf.constant(log_l2, keras.config.floatx()))}
    return BilevelLearner(problem, estimator or checkpointed(), phi)

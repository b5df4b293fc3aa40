"""Logistic regression with one penalty for each feature, learned from the loss on held-out examples."""

from __future__ import annotations

import tensorflow as tf

from metalearn.estimators import Estimator
from metalearn.problems.applications.classifier import require_classes
from metalearn.problems.applications.penalised import penalised
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.types import Batch, Parameters, Rule


def logistic(
    features: int, rule: Rule, steps: int = 100, estimator: Estimator | None = None, log_l2: float = 0.0
) -> BilevelLearner:
    """Return a learner of the penalties of a logistic regression.

    ::

        inner loss = 1/N sum_n CE(y_n, w x_n) + 1/2 sum_d exp(log_l2_d) w_d^2,   w_0 = 0
        outer loss = 1/M sum_m CE(y_m, w_K x_m)                                  over query examples

    with the cross-entropy ``CE(y, z) = log(1 + exp z) - y z``. The outer loss reports ``accuracy``.

    Args:
        features: D, the size of inputs ``[N, D]``; targets are the integers 0 and 1, ``[N]``.
        rule: the inner update rule.
        steps: K.
        estimator: the estimator of the gradient with respect to ``phi = {"log_l2": [D]}``;
            ``checkpointed()`` by default.
        log_l2: the initial logarithm of each penalty.

    Raises:
        ValueError: if a number is out of range; when tasks are given, if a class is neither 0 nor 1.

    Reference: Grazzi et al. (2020), "On the Iteration Complexity of Hypergradient Computation", section 5;
    the example "logistic regression" of Betty (Choe et al. 2023).
    """

    def judged(theta: Parameters, examples: Batch) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        logits, targets = tf.linalg.matvec(examples.inputs, theta["w"]), examples.targets
        require_classes("logistic", targets, 2)
        losses = tf.nn.softplus(logits) - tf.cast(targets, logits.dtype) * logits
        right = tf.equal(logits > 0, tf.equal(targets, 1))
        return tf.reduce_mean(losses), {"accuracy": tf.reduce_mean(tf.cast(right, logits.dtype))}

    def loss(theta: Parameters, examples: Batch) -> tf.Tensor:
        return judged(theta, examples)[0]

    return penalised(features, loss, judged, rule, steps, estimator, log_l2)

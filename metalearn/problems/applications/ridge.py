"""Ridge regression with one penalty for each feature, learned from the error on held-out examples."""

from __future__ import annotations

import tensorflow as tf

from metalearn.estimators import Estimator
from metalearn.problems.applications.penalised import penalised
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.types import Batch, Parameters, Rule


def ridge(
    features: int, rule: Rule, steps: int = 100, estimator: Estimator | None = None, log_l2: float = -2.0
) -> BilevelLearner:
    """Return a learner of the penalties of a linear regression.

    ::

        inner loss = 1/(2 N) sum_n (w x_n - y_n)^2 + 1/2 sum_d exp(log_l2_d) w_d^2,   w_0 = 0
        outer loss = 1/(2 M) sum_m (w_K x_m - y_m)^2                                  over query examples

    The inner loss is quadratic, so its solution and the derivative of the solution have closed forms
    (``tests/metalearn/problems/applications/test_ridge.py``).

    Args:
        features: D, the size of inputs ``[N, D]``; targets are numbers ``[N]``.
        rule: the inner update rule.
        steps: K.
        estimator: the estimator of the gradient with respect to ``phi = {"log_l2": [D]}``;
            ``checkpointed()`` by default.
        log_l2: the initial logarithm of each penalty.

    Raises:
        ValueError: if a number is out of range.

    Reference: Franceschi et al. (2018), "Bilevel Programming for Hyperparameter Optimization and
    Meta-Learning".
    """

    def error(theta: Parameters, examples: Batch) -> tf.Tensor:
        outputs = tf.linalg.matvec(examples.inputs, theta["w"])
        return tf.reduce_mean(tf.square(outputs - examples.targets)) / 2

    return penalised(features, error, error, rule, steps, estimator, log_l2)

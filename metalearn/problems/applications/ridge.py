"""Ridge regression whose penalties, one a feature, are learned by the error on other examples."""

from __future__ import annotations

import tensorflow as tf

from metalearn.estimators import Estimator
from metalearn.problems.applications.penalised import penalised
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.types import Batch, Parameters, Rule


def ridge(
    features: int, rule: Rule, steps: int = 100, estimator: Estimator | None = None, log_l2: float = -2.0
) -> BilevelLearner:
    """Return the learner of the penalties of a linear regression.

    ::

        inner loss = 1/(2 N) sum_n (w x_n - y_n)^2 + 1/2 sum_d exp(log_l2_d) w_d^2,   w_0 = 0
        outer loss = 1/(2 M) sum_m (w_K x_m - y_m)^2                                  over query examples

    The inner loss is quadratic, so its solution and the derivative of that are closed forms
    (``tests/metalearn/problems/applications/test_ridge.py``).

    Args:
        features: D, of inputs ``[N, D]``; targets are numbers ``[N]``.
        rule: the inner update.
        steps: K.
        estimator: of the gradient with respect to ``phi = {"log_l2": [D]}``; ``checkpointed()`` unless given.
        log_l2: the logarithm of each penalty before training.

    Raises:
        ValueError: if a number is out of range.

    Reference: Franceschi et al. (2018), "Bilevel Programming for Hyperparameter Optimization and
    Meta-Learning".
    """

    def error(theta: Parameters, examples: Batch) -> tf.Tensor:
        outputs = tf.linalg.matvec(examples.inputs, theta["w"])
        return tf.reduce_mean(tf.square(outputs - examples.targets)) / 2

    return penalised(features, error, error, rule, steps, estimator, log_l2)

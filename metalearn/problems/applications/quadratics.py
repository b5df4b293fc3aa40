"""Quadratic functions as training tasks of a learned optimizer."""

from __future__ import annotations

import keras
import tensorflow as tf

from metalearn import rules
from metalearn.checks import require_count
from metalearn.estimators import Estimator, checkpointed
from metalearn.problems.applications.averaged import step_weights
from metalearn.problems.bilevel import BilevelProblem
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.types import Meta, Parameters, Rule, Structure, Task


def quadratics(
    size: int, rule: Rule, steps: int = 50, averaged: bool = False, estimator: Estimator | None = None
) -> BilevelLearner:
    """Return a learner of an update rule from its performance on quadratic functions.

    ::

        inner loss = outer loss = |A (x - c)|^2 / 2,   x_0 = 0

    with tasks as :class:`metalearn.tasks.Quadratics` draws them.

    Args:
        size: D, the size of x.
        rule: the inner update rule, with learned hyperparameters or parameters.
        steps: K.
        averaged: whether the meta-loss is the mean of the losses after steps 1 to K instead of that after K.
        estimator: the estimator of the gradient with respect to ``phi = {"rule": ...}``;
            ``checkpointed()`` by default.

    Raises:
        ValueError: if a number is out of range, or the rule learns nothing.

    Reference: Andrychowicz et al. (2016), "Learning to learn by gradient descent by gradient descent",
    section 3.1.
    """
    require_count("size", size)
    rule = rules.get(rule)
    x = tf.zeros([size], keras.config.floatx())

    def value(theta: Parameters, function: Structure) -> tf.Tensor:
        matrix, center = (tf.cast(function[name], theta["x"].dtype) for name in ("matrix", "center"))
        return tf.reduce_sum(tf.square(tf.linalg.matvec(matrix, theta["x"] - center))) / 2

    def start(phi: Meta, task: Task) -> Parameters:
        return {"x": tf.cast(x, tf.nest.flatten(phi)[0].dtype)}

    problem = BilevelProblem(
        start=start,
        inner_loss=lambda theta, phi, function, model: value(theta, function),
        outer_loss=lambda theta, phi, task, model: value(theta, task.query),
        rule=rule,
        steps=steps,
        step_weights=step_weights(steps, averaged),
    )
    return BilevelLearner(problem, estimator or checkpointed(), {"rule": rule.learnable({"x": x})})

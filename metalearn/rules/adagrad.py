"""Adagrad as a differentiable inner rule."""

from __future__ import annotations

import tensorflow as tf

from metalearn.rules.elementwise import Moved, Point, Value, elementwise
from metalearn.rules.hyperparameters import (
    NON_NEGATIVE,
    POSITIVE,
    Hyperparameter,
    require_finite,
    within,
)
from metalearn.types import Rule


def adagrad(
    learning_rate: Hyperparameter = 0.001,
    initial_accumulator_value: float = 0.1,
    epsilon: Hyperparameter = 1e-7,
) -> Rule:
    """Return Adagrad, ``keras.optimizers.Adagrad``.

    ::

        a_{k+1}     = a_k + g_k^2
        theta_{k+1} = theta_k - learning_rate g_k / sqrt(a_{k+1} + epsilon)

    Args:
        learning_rate: positive and finite.
        initial_accumulator_value: a_0, at least 0; a constant.
        epsilon: positive and finite; inside the root, which is smooth therefore.

    Raises:
        ValueError: naming the argument that is out of range.

    Reference: Duchi, Hazan and Singer (2011), "Adaptive Subgradient Methods", figure 1.
    """
    require_finite("initial_accumulator_value", initial_accumulator_value, NON_NEGATIVE)
    return elementwise(
        _move,
        within(POSITIVE, learning_rate=learning_rate, epsilon=epsilon),
        {"accumulator": lambda parameter: initial_accumulator_value * tf.ones_like(parameter)},
    )


def _move(point: Point, learning_rate: Value, epsilon: Value) -> Moved:
    accumulator = point.slots["accumulator"] + tf.square(point.gradient)
    change = learning_rate * point.gradient / tf.sqrt(accumulator + epsilon)
    return point.parameter - change, {"accumulator": accumulator}

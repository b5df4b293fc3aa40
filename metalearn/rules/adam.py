"""Adam as a differentiable inner rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from metalearn.rules.elementwise import Elementwise, Moved, Point, Start, Value, mean, root
from metalearn.rules.hyperparameters import FRACTION, POSITIVE, Hyperparameter, Range

ADAM_RANGES: dict[str, Range] = {
    "learning_rate": POSITIVE,
    "epsilon": POSITIVE,
    "beta_1": FRACTION,
    "beta_2": FRACTION,
}
"""Ranges of the hyperparameters of Adam and its variants."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class adam(Elementwise):
    """Adam, ``keras.optimizers.Adam``.

    ::

        m_{k+1}     = beta_1 m_k + (1 - beta_1) g_k
        v_{k+1}     = beta_2 v_k + (1 - beta_2) g_k^2
        alpha_k     = learning_rate sqrt(1 - beta_2^(k+1)) / (1 - beta_1^(k+1))
        theta_{k+1} = theta_k - alpha_k m_{k+1} / (sqrt(v_{k+1}) + epsilon)

    As in Keras, epsilon is the paper's epsilon-hat (before section 2.1), without bias correction. Where v is
    0, the derivative of its root is defined as 0; this is correct, since m is 0 too.

    Args:
        learning_rate: positive and finite.
        beta_1: in [0, 1).
        beta_2: in [0, 1).
        epsilon: positive and finite; at a gradient of 0, the slope of the update is ``1 / epsilon``.
        amsgrad: divide by the largest v so far.

    Raises:
        ValueError: naming the argument that is out of range.

    Reference: Kingma and Ba (2015), "Adam", algorithm 1 and section 2; amsgrad: Reddi, Kale and Kumar
    (2018), "On the Convergence of Adam and Beyond", algorithm 2.
    """

    learning_rate: Hyperparameter = 0.001
    beta_1: Hyperparameter = 0.9
    beta_2: Hyperparameter = 0.999
    epsilon: Hyperparameter = 1e-7
    amsgrad: bool = False

    ranges: ClassVar = ADAM_RANGES

    def slots(self) -> Mapping[str, Start]:
        return adam_slots(self.amsgrad)

    def move(self, point: Point, learning_rate: Value, beta_1: Value, beta_2: Value, epsilon: Value) -> Moved:
        return adam_move(point, learning_rate, beta_1, beta_2, epsilon)


def adam_slots(amsgrad: bool) -> dict[str, Start]:
    """Return the initial values of the moments of Adam."""
    return dict.fromkeys(["momentum", "velocity"] + ["velocity_hat"] * amsgrad, tf.zeros_like)


def adam_move(point: Point, learning_rate: Value, beta_1: Value, beta_2: Value, epsilon: Value) -> Moved:
    """Update one variable as :func:`adam` does."""
    momentum = mean(point.slots["momentum"], point.gradient, beta_1)
    velocity = mean(point.slots["velocity"], tf.square(point.gradient), beta_2)
    after = {"momentum": momentum, "velocity": velocity}
    if "velocity_hat" in point.slots:
        velocity = after["velocity_hat"] = tf.maximum(point.slots["velocity_hat"], velocity)
    rate = learning_rate * tf.sqrt(1 - point.power(beta_2)) / (1 - point.power(beta_1))
    return point.parameter - rate * momentum / (root(velocity) + epsilon), after

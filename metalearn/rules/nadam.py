"""NAdam as a differentiable inner rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from metalearn.rules.adam import ADAM_RANGES
from metalearn.rules.elementwise import Elementwise, Moved, Point, Start, Value, mean, root
from metalearn.rules.hyperparameters import Hyperparameter, ones_per_value


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class nadam(Elementwise):
    """NAdam, ``keras.optimizers.Nadam``: Adam with Nesterov's momentum.

    ::

        mu_k        = beta_1 (1 - 0.96^k / 2),    p_k = mu_1 mu_2 ... mu_k
        m_{k+1}     = beta_1 m_k + (1 - beta_1) g_k
        v_{k+1}     = beta_2 v_k + (1 - beta_2) g_k^2
        m-hat       = mu_{k+2} m_{k+1} / (1 - p_{k+1} mu_{k+2}) + (1 - mu_{k+1}) g_k / (1 - p_{k+1})
        theta_{k+1} = theta_k - learning_rate m-hat / (sqrt(v_{k+1} / (1 - beta_2^(k+1))) + epsilon)

    Where v is 0, the derivative of its root is defined as 0; this is correct, since m is 0 too. The product p
    is part of the state: one number for each variable, or for each element if beta_1 is learned for each
    element.

    Args:
        learning_rate: positive and finite.
        beta_1: in [0, 1).
        beta_2: in [0, 1).
        epsilon: positive and finite; at a gradient of 0, the slope of the update is ``1 / epsilon``.

    Raises:
        ValueError: naming the argument that is out of range.

    Reference: Dozat (2016), "Incorporating Nesterov Momentum into Adam", algorithm 2, with the schedule
    of mu of its section 3.
    """

    learning_rate: Hyperparameter = 0.001
    beta_1: Hyperparameter = 0.9
    beta_2: Hyperparameter = 0.999
    epsilon: Hyperparameter = 1e-7

    ranges: ClassVar = ADAM_RANGES

    def slots(self) -> Mapping[str, Start]:
        return {
            "momentum": tf.zeros_like,
            "velocity": tf.zeros_like,
            "product": lambda parameter: ones_per_value(self.beta_1, parameter),
        }

    def move(self, point: Point, learning_rate: Value, beta_1: Value, beta_2: Value, epsilon: Value) -> Moved:
        mu_now = beta_1 * (1 - 0.5 * point.power(0.96))
        mu_next = beta_1 * (1 - 0.5 * point.power(0.96, ahead=2))
        product = point.slots["product"] * mu_now
        momentum = mean(point.slots["momentum"], point.gradient, beta_1)
        velocity = mean(point.slots["velocity"], tf.square(point.gradient), beta_2)
        ahead = mu_next * momentum / (1 - product * mu_next) + (1 - mu_now) * point.gradient / (1 - product)
        change = learning_rate * ahead / (root(velocity / (1 - point.power(beta_2))) + epsilon)
        return point.parameter - change, {"momentum": momentum, "velocity": velocity, "product": product}

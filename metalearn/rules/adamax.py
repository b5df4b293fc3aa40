"""AdaMax as a differentiable inner rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from metalearn.rules.adam import ADAM_RANGES
from metalearn.rules.elementwise import Elementwise, Moved, Point, Start, Value, mean
from metalearn.rules.hyperparameters import Hyperparameter


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class adamax(Elementwise):
    """AdaMax, ``keras.optimizers.Adamax``.

    ::

        m_{k+1}     = beta_1 m_k + (1 - beta_1) g_k
        u_{k+1}     = max(beta_2 u_k, |g_k|)
        theta_{k+1} = theta_k - learning_rate / (1 - beta_1^(k+1)) m_{k+1} / (u_{k+1} + epsilon)

    The update is not differentiable where both sides of the maximum are equal (the derivative of the first is
    used) and at ``g = 0`` (the derivative of ``|g|`` is defined as 0; if all gradients so far were 0, this is
    correct, since m is 0 too).

    Args:
        learning_rate: positive and finite.
        beta_1: in [0, 1).
        beta_2: in [0, 1).
        epsilon: positive and finite.

    Raises:
        ValueError: naming the argument that is out of range.

    Reference: Kingma and Ba (2015), "Adam", algorithm 2.
    """

    learning_rate: Hyperparameter = 0.001
    beta_1: Hyperparameter = 0.9
    beta_2: Hyperparameter = 0.999
    epsilon: Hyperparameter = 1e-7

    ranges: ClassVar = ADAM_RANGES

    def slots(self) -> Mapping[str, Start]:
        return {"momentum": tf.zeros_like, "norm": tf.zeros_like}

    def move(self, point: Point, learning_rate: Value, beta_1: Value, beta_2: Value, epsilon: Value) -> Moved:
        momentum = mean(point.slots["momentum"], point.gradient, beta_1)
        norm = tf.maximum(beta_2 * point.slots["norm"], tf.abs(point.gradient))
        change = learning_rate / (1 - point.power(beta_1)) * momentum / (norm + epsilon)
        return point.parameter - change, {"momentum": momentum, "norm": norm}

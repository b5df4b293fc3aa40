"""Gradient descent with Nesterov's momentum as a differentiable inner rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from metalearn.rules.elementwise import Elementwise, Moved, Point, Start, Value
from metalearn.rules.hyperparameters import FRACTION, POSITIVE, Hyperparameter


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class nesterov(Elementwise):
    """Gradient descent with Nesterov's momentum, ``keras.optimizers.SGD(..., nesterov=True)``.

    ::

        v_{k+1}     = momentum v_k - learning_rate g_k
        theta_{k+1} = theta_k + momentum v_{k+1} - learning_rate g_k

    Here theta is the point at which gradients are computed; it is theta plus momentum v in the paper.

    Args:
        learning_rate: positive and finite.
        momentum: in [0, 1).

    Raises:
        ValueError: naming the argument that is out of range.

    Reference: Sutskever et al. (2013), "On the importance of initialization and momentum in deep
    learning", equations 3 and 4.
    """

    learning_rate: Hyperparameter = 0.01
    momentum: Hyperparameter = 0.9

    ranges: ClassVar = {"learning_rate": POSITIVE, "momentum": FRACTION}

    def slots(self) -> Mapping[str, Start]:
        return {"velocity": tf.zeros_like}

    def move(self, point: Point, learning_rate: Value, momentum: Value) -> Moved:
        scaled = learning_rate * point.gradient
        velocity = momentum * point.slots["velocity"] - scaled
        return point.parameter + momentum * velocity - scaled, {"velocity": velocity}

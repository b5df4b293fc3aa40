"""Gradient descent with momentum (the heavy ball) as a differentiable inner rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from metalearn.rules.elementwise import Elementwise, Moved, Point, Start, Value
from metalearn.rules.hyperparameters import FRACTION, POSITIVE, Hyperparameter


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class momentum(Elementwise):
    """Gradient descent with momentum, ``keras.optimizers.SGD(learning_rate, momentum)``.

    ::

        v_{k+1}     = momentum v_k - learning_rate g_k
        theta_{k+1} = theta_k + v_{k+1}

    Args:
        learning_rate: positive and finite.
        momentum: in [0, 1).

    Raises:
        ValueError: naming the argument that is out of range.

    Reference: Polyak (1964), "Some methods of speeding up the convergence of iteration methods",
    equation 9; in this form, Sutskever et al. (2013), "On the importance of initialization and momentum
    in deep learning", equations 1 and 2.
    """

    learning_rate: Hyperparameter = 0.01
    momentum: Hyperparameter = 0.9

    ranges: ClassVar = {"learning_rate": POSITIVE, "momentum": FRACTION}

    def slots(self) -> Mapping[str, Start]:
        return {"velocity": tf.zeros_like}

    def move(self, point: Point, learning_rate: Value, momentum: Value) -> Moved:
        velocity = momentum * point.slots["velocity"] - learning_rate * point.gradient
        return point.parameter + velocity, {"velocity": velocity}

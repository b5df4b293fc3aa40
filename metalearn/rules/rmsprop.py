"""RMSprop as a differentiable inner rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from metalearn.rules.elementwise import Elementwise, Moved, Point, Start, Value, mean
from metalearn.rules.hyperparameters import FRACTION, POSITIVE, Hyperparameter


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class rmsprop(Elementwise):
    """RMSprop, ``keras.optimizers.RMSprop``.

    ::

        v_{k+1}     = rho v_k + (1 - rho) g_k^2
        m_{k+1}     = momentum m_k + learning_rate g_k / sqrt(v_{k+1} + epsilon)
        theta_{k+1} = theta_k - m_{k+1}

    ``centered`` replaces v by the variance. Keras subtracts the squared mean from the mean square, which can
    become negative by rounding and give NaN; here the same number is accumulated from non-negative terms::

        v_{k+1} = rho v_k + rho (1 - rho) (g_k - a_k)^2,    a_{k+1} = rho a_k + (1 - rho) g_k

    Args:
        learning_rate: positive and finite.
        rho: in [0, 1).
        momentum: in [0, 1).
        epsilon: positive and finite; added inside the root, which makes it smooth.
        centered: divide by the standard deviation of the gradients instead of their root mean square.

    Raises:
        ValueError: naming the argument that is out of range.

    Reference: Tieleman and Hinton (2012), "Lecture 6.5 - RMSProp"; centred and with momentum, Graves
    (2013), "Generating Sequences With Recurrent Neural Networks", equations 38 to 41.
    """

    learning_rate: Hyperparameter = 0.001
    rho: Hyperparameter = 0.9
    momentum: Hyperparameter = 0.0
    epsilon: Hyperparameter = 1e-7
    centered: bool = False

    ranges: ClassVar = {"learning_rate": POSITIVE, "epsilon": POSITIVE, "rho": FRACTION, "momentum": FRACTION}

    def slots(self) -> Mapping[str, Start]:
        names = ["velocity"] + ["momentum"] * (self.momentum != 0) + ["average_gradient"] * self.centered
        return dict.fromkeys(names, tf.zeros_like)

    def move(self, point: Point, learning_rate: Value, rho: Value, momentum: Value, epsilon: Value) -> Moved:
        before, after = point.slots, {}
        squared = tf.square(point.gradient)
        if "average_gradient" in before:
            squared = rho * tf.square(point.gradient - before["average_gradient"])
            after["average_gradient"] = mean(before["average_gradient"], point.gradient, rho)
        after["velocity"] = mean(before["velocity"], squared, rho)
        change = learning_rate * point.gradient / tf.sqrt(after["velocity"] + epsilon)
        if "momentum" in before:
            change = after["momentum"] = momentum * before["momentum"] + change
        return point.parameter - change, after

"""Adadelta as a differentiable inner rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from metalearn.rules.elementwise import Elementwise, Moved, Point, Start, Value, mean
from metalearn.rules.hyperparameters import FRACTION, POSITIVE, Hyperparameter


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class adadelta(Elementwise):
    """Adadelta, ``keras.optimizers.Adadelta``.

    ::

        v_{k+1}     = rho v_k + (1 - rho) g_k^2
        d_k         = - sqrt(u_k + epsilon) / sqrt(v_{k+1} + epsilon) g_k
        u_{k+1}     = rho u_k + (1 - rho) d_k^2
        theta_{k+1} = theta_k + learning_rate d_k

    Args:
        learning_rate: positive and finite; 1 in the paper.
        rho: in [0, 1).
        epsilon: positive and finite; added inside both roots, which makes them smooth.

    Raises:
        ValueError: naming the argument that is out of range.

    Reference: Zeiler (2012), "ADADELTA: An Adaptive Learning Rate Method", algorithm 1.
    """

    learning_rate: Hyperparameter = 0.001
    rho: Hyperparameter = 0.95
    epsilon: Hyperparameter = 1e-7

    ranges: ClassVar = {"learning_rate": POSITIVE, "epsilon": POSITIVE, "rho": FRACTION}

    def slots(self) -> Mapping[str, Start]:
        return {"accumulated_gradient": tf.zeros_like, "accumulated_change": tf.zeros_like}

    def move(self, point: Point, learning_rate: Value, rho: Value, epsilon: Value) -> Moved:
        gradients = mean(point.slots["accumulated_gradient"], tf.square(point.gradient), rho)
        changes = point.slots["accumulated_change"]
        change = -tf.sqrt(changes + epsilon) / tf.sqrt(gradients + epsilon) * point.gradient
        after = {
            "accumulated_gradient": gradients,
            "accumulated_change": mean(changes, tf.square(change), rho),
        }
        return point.parameter + learning_rate * change, after

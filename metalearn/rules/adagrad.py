"""Adagrad as a differentiable inner rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from metalearn.rules.elementwise import Elementwise, Moved, Point, Start, Value
from metalearn.rules.hyperparameters import (
    NON_NEGATIVE,
    POSITIVE,
    Hyperparameter,
    require_in,
)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class adagrad(Elementwise):
    """Adagrad, ``keras.optimizers.Adagrad``.

    ::

        a_{k+1}     = a_k + g_k^2
        theta_{k+1} = theta_k - learning_rate g_k / sqrt(a_{k+1} + epsilon)

    Args:
        learning_rate: positive and finite.
        initial_accumulator_value: a_0, at least 0; a constant.
        epsilon: positive and finite; added inside the root, which makes it smooth.

    Raises:
        ValueError: naming the argument that is out of range.

    Reference: Duchi, Hazan and Singer (2011), "Adaptive Subgradient Methods", figure 1.
    """

    learning_rate: Hyperparameter = 0.001
    initial_accumulator_value: float = 0.1
    epsilon: Hyperparameter = 1e-7

    ranges: ClassVar = {"learning_rate": POSITIVE, "epsilon": POSITIVE}

    def __post_init__(self) -> None:
        require_in(NON_NEGATIVE, "initial_accumulator_value", self.initial_accumulator_value)
        super().__post_init__()

    def slots(self) -> Mapping[str, Start]:
        return {"accumulator": lambda parameter: self.initial_accumulator_value * tf.ones_like(parameter)}

    def move(self, point: Point, learning_rate: Value, epsilon: Value) -> Moved:
        accumulator = point.slots["accumulator"] + tf.square(point.gradient)
        change = learning_rate * point.gradient / tf.sqrt(accumulator + epsilon)
        return point.parameter - change, {"accumulator": accumulator}

"""Gradient descent as a differentiable inner rule."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import tensorflow as tf

from metalearn.rules.elementwise import Elementwise, Moved, Point, Value
from metalearn.rules.hyperparameters import POSITIVE, Hyperparameter, current_values
from metalearn.types import Parameters, Structure


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class sgd(Elementwise):
    """Plain gradient descent, ``theta_{k+1} = theta_k - learning_rate * gradient``.

    Args:
        learning_rate: the inner rate (alpha in MAML), positive and finite.

    Raises:
        ValueError: if the rate is not positive and finite.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", equation 1; with the rate
    ``learned(..., per="element")``, Li et al. (2017), "Meta-SGD", equation 1.
    """

    learning_rate: Hyperparameter = 0.01

    ranges: ClassVar = {"learning_rate": POSITIVE}

    def move(self, point: Point, learning_rate: Value) -> Moved:
        return point.parameter - learning_rate * point.gradient, {}

    def descent_rates(self, parameters: Parameters, values: Structure, step: int | tf.Tensor) -> Parameters:
        now = current_values(self.settings(), values, parameters, step)
        return {key: now[key]["learning_rate"] for key in parameters}

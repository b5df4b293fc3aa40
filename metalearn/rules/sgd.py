"""Gradient descent as a differentiable inner rule."""

from __future__ import annotations

from metalearn.rules.elementwise import Moved, Point, Value, elementwise
from metalearn.rules.hyperparameters import POSITIVE, Hyperparameter, within
from metalearn.types import Rule


def sgd(learning_rate: Hyperparameter = 0.01) -> Rule:
    """Return plain gradient descent, ``theta_{k+1} = theta_k - learning_rate * gradient``.

    Args:
        learning_rate: the inner rate (alpha in MAML), positive and finite.

    Raises:
        ValueError: if the rate is not positive and finite.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", equation 1; with the rate
    ``learned(..., per="element")``, Li et al. (2017), "Meta-SGD", equation 1.
    """
    return elementwise(_move, within(POSITIVE, learning_rate=learning_rate), {})


def _move(point: Point, learning_rate: Value) -> Moved:
    return point.parameter - learning_rate * point.gradient, {}

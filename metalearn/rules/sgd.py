"""Gradient descent as a differentiable inner rule."""

from __future__ import annotations

import tensorflow as tf

from metalearn.arguments import require_positive
from metalearn.types import Parameters, Rule, Structure


def sgd(learning_rate: float = 0.01) -> Rule:
    """Return plain gradient descent, ``theta_{k+1} = theta_k - learning_rate * gradient``.

    Args:
        learning_rate: the inner rate (alpha in MAML), positive and finite.

    Raises:
        ValueError: if the rate is not positive and finite.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", equation 1.
    """
    require_positive("learning_rate", learning_rate)

    def update(
        gradients: Parameters,
        state: Structure,
        parameters: Parameters,
        hyperparameters: Structure,
        step: tf.Tensor,
    ) -> tuple[Parameters, Structure]:
        moved = {key: parameters[key] - learning_rate * gradients[key] for key in parameters}
        return moved, state

    return Rule(hyperparameters=lambda parameters: {}, init=lambda parameters: (), update=update)

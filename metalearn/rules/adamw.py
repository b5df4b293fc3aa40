"""AdamW as a differentiable inner rule."""

from __future__ import annotations

from metalearn.rules.adam import adam_move, adam_slots, adam_values
from metalearn.rules.elementwise import Moved, Point, Value, elementwise
from metalearn.rules.hyperparameters import NON_NEGATIVE, Hyperparameter, within
from metalearn.types import Rule


def adamw(
    learning_rate: Hyperparameter = 0.001,
    weight_decay: Hyperparameter = 0.004,
    beta_1: Hyperparameter = 0.9,
    beta_2: Hyperparameter = 0.999,
    epsilon: Hyperparameter = 1e-7,
    amsgrad: bool = False,
) -> Rule:
    """Return Adam with decoupled weight decay, ``keras.optimizers.AdamW``.

    ::

        theta_{k+1} = (1 - learning_rate weight_decay) theta_k - alpha_k m_{k+1} / (sqrt(v_{k+1}) + epsilon)

    with alpha, m and v those of :func:`metalearn.rules.adam`: the decay is in none of the moments. It is
    ``weight_decay(adam(...), rate=learning_rate * weight_decay)``, with the product formed in every step.

    Args:
        learning_rate: positive and finite.
        weight_decay: at least 0, a multiple of the learning rate.
        beta_1: in [0, 1).
        beta_2: in [0, 1).
        epsilon: positive and finite.
        amsgrad: divide by the largest v so far.

    Raises:
        ValueError: naming the argument that is out of range.

    Reference: Loshchilov and Hutter (2019), "Decoupled Weight Decay Regularization", algorithm 2.
    """
    values = {
        **adam_values(learning_rate, beta_1, beta_2, epsilon),
        **within(NON_NEGATIVE, weight_decay=weight_decay),
    }
    return elementwise(_move, values, adam_slots(amsgrad))


def _move(point: Point, learning_rate: Value, weight_decay: Value, **moments: Value) -> Moved:
    decayed = point.parameter - learning_rate * weight_decay * point.parameter
    return adam_move(point._replace(parameter=decayed), learning_rate, **moments)

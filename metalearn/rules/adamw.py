"""AdamW as a differentiable inner rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from metalearn.rules.adam import ADAM_RANGES, adam_move, adam_slots
from metalearn.rules.elementwise import Elementwise, Moved, Point, Start, Value
from metalearn.rules.hyperparameters import NON_NEGATIVE, Hyperparameter


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class adamw(Elementwise):
    """Adam with decoupled weight decay, ``keras.optimizers.AdamW``.

    ::

        theta_{k+1} = (1 - learning_rate weight_decay) theta_k - alpha_k m_{k+1} / (sqrt(v_{k+1}) + epsilon)

    with alpha, m and v as in :func:`metalearn.rules.adam`: the decay does not enter the moments. The rule
    equals ``weight_decay(adam(...), rate=learning_rate * weight_decay)``, with the product computed in every
    step.

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

    learning_rate: Hyperparameter = 0.001
    weight_decay: Hyperparameter = 0.004
    beta_1: Hyperparameter = 0.9
    beta_2: Hyperparameter = 0.999
    epsilon: Hyperparameter = 1e-7
    amsgrad: bool = False

    ranges: ClassVar = {**ADAM_RANGES, "weight_decay": NON_NEGATIVE}

    def slots(self) -> Mapping[str, Start]:
        return adam_slots(self.amsgrad)

    def move(self, point: Point, learning_rate: Value, weight_decay: Value, **moments: Value) -> Moved:
        decayed = point.parameter - learning_rate * weight_decay * point.parameter
        return adam_move(point._replace(parameter=decayed), learning_rate, **moments)

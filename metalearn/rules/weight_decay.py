"""Decoupled weight decay for any rule."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from metalearn.rules.hyperparameters import NON_NEGATIVE, Hyperparameter
from metalearn.rules.wrapping import Wrapper
from metalearn.types import Parameters, Rule


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class weight_decay(Wrapper):
    """``rule`` with parameters that are multiplied by ``1 - rate`` in every step.

    ``theta_{k+1} = update(g_k, (1 - rate) theta_k)``, where g_k is the gradient at theta_k. The decay is
    decoupled: it does not enter momentum or second moments, and it is not multiplied by the learning rate.
    ``weight_decay=w`` of Keras corresponds to ``rate = learning_rate * w``; :func:`metalearn.rules.adamw`
    computes that product. For L2 regularisation, add the penalty to the inner loss.

    Args:
        rule: any rule, or its name.
        rate: finite, at least 0; learned as ``weight_decay``.

    Raises:
        ValueError: if ``rate`` is out of range, or ``rule`` is not a rule.

    Reference: Loshchilov and Hutter (2019), "Decoupled Weight Decay Regularization", equation 1.
    """

    rule: Rule
    rate: Hyperparameter

    argument: ClassVar = "rate"
    learned_name: ClassVar = "weight_decay"
    allowed: ClassVar = NON_NEGATIVE

    def before(
        self, gradients: Parameters, parameters: Parameters, value: dict[str, Any]
    ) -> tuple[Parameters, Parameters]:
        return gradients, {key: parameter - value[key] * parameter for key, parameter in parameters.items()}

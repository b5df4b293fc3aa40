"""Clipping of inner gradients by value."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import tensorflow as tf

from metalearn.rules.hyperparameters import POSITIVE, Hyperparameter
from metalearn.rules.wrapping import Wrapper
from metalearn.types import Parameters, Rule


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class clip_by_value(Wrapper):
    """``rule`` applied to gradients clipped to [-limit, limit], as Keras' ``clipvalue``.

    ``g <- min(max(g, -limit), limit)``. For a clipped element, the second derivative of the inner loss does
    not contribute to the meta-gradient, and the derivative with respect to the limit is the sign of g.

    Args:
        rule: any rule, or its name.
        limit: positive and finite; learned as ``clip_value``.

    Raises:
        ValueError: if ``limit`` is out of range, or ``rule`` is not a rule.

    Reference: Mikolov (2012), "Statistical Language Models Based on Neural Networks", section 3.2.2.
    """

    rule: Rule
    limit: Hyperparameter

    argument: ClassVar = "limit"
    learned_name: ClassVar = "clip_value"
    allowed: ClassVar = POSITIVE

    def before(
        self, gradients: Parameters, parameters: Parameters, value: dict[str, Any]
    ) -> tuple[Parameters, Parameters]:
        clipped = {
            key: tf.minimum(tf.maximum(gradient, -value[key]), value[key])
            for key, gradient in gradients.items()
        }
        return clipped, parameters

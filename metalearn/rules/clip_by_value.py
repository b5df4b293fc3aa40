"""Inner gradients clipped element by element."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from metalearn.rules.hyperparameters import POSITIVE, Hyperparameter, within
from metalearn.rules.wrapping import wrap
from metalearn.types import Parameters, Rule


def clip_by_value(rule: Rule, limit: Hyperparameter) -> Rule:
    """Return ``rule`` given gradients clipped to [-limit, limit], Keras' ``clipvalue``.

    ``g <- min(max(g, -limit), limit)``. Where it clips, no second derivative of the inner loss passes,
    and the derivative in the limit is the sign of g.

    Args:
        rule: any rule.
        limit: positive and finite; learned as ``clip_value``.

    Raises:
        ValueError: if ``limit`` is out of range, or ``rule`` is not a rule.

    Reference: Mikolov (2012), "Statistical Language Models Based on Neural Networks", section 3.2.2.
    """
    within(POSITIVE, limit=limit)
    return wrap(rule, _clip, "clip_value", limit)


def _clip(
    gradients: Parameters, parameters: Parameters, limit: dict[str, Any]
) -> tuple[Parameters, Parameters]:
    clipped = {
        key: tf.minimum(tf.maximum(gradient, -limit[key]), limit[key]) for key, gradient in gradients.items()
    }
    return clipped, parameters

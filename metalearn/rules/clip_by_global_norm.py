"""Inner gradients scaled down together where they are long."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from metalearn.rules.elementwise import root
from metalearn.rules.hyperparameters import POSITIVE, Hyperparameter, Learned, within
from metalearn.rules.wrapping import wrap
from metalearn.types import Parameters, Rule


def clip_by_global_norm(rule: Rule, limit: Hyperparameter) -> Rule:
    """Return ``rule`` given gradients of a global norm of at most ``limit``, Keras' ``global_clipnorm``.

    ``g <- g min(1, limit / |g|)``, with |g| the Euclidean norm over all variables of the task. Its
    derivative is exact, the norm's dependence on the gradients included; all gradients zero give zero.
    A norm that is not finite makes the gradients NaN, so that it is noticed.

    Args:
        rule: any rule.
        limit: positive and finite; learned as ``clip_norm``, for the whole rule only.

    Raises:
        ValueError: if ``limit`` is out of range or learned per variable or element, or ``rule`` is not a
            rule.

    Reference: Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural
    networks", algorithm 1.
    """
    if isinstance(limit, Learned) and limit.per != "scalar":
        raise ValueError(
            f"limit=learned(per={limit.per!r}) has no meaning for a norm over all variables: "
            "use per='scalar', or clip_by_value"
        )
    within(POSITIVE, limit=limit)
    return wrap(rule, _clip, "clip_norm", limit)


def _clip(
    gradients: Parameters, parameters: Parameters, limit: dict[str, Any]
) -> tuple[Parameters, Parameters]:
    norm = root(tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients.values()]))
    norm += norm - norm  # 0, but NaN for an infinite norm
    clipped = {key: gradient / tf.maximum(norm / limit[key], 1) for key, gradient in gradients.items()}
    return clipped, parameters

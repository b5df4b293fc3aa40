"""Clipping of inner gradients by their global norm."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import tensorflow as tf

from metalearn.rules.elementwise import root
from metalearn.rules.hyperparameters import POSITIVE, Hyperparameter
from metalearn.rules.learnable import Learned
from metalearn.rules.wrapping import Wrapper
from metalearn.types import Parameters, Rule


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class clip_by_global_norm(Wrapper):
    """``rule`` applied to gradients with a global norm of at most ``limit``, as Keras' ``global_clipnorm``.

    ``g <- g min(1, limit / |g|)``, with |g| the Euclidean norm over all variables of the task. The derivative
    is exact and includes that of the norm; gradients of zero stay zero. If the norm is not finite, the
    gradients become NaN, so that the error is visible.

    Args:
        rule: any rule, or its name.
        limit: positive and finite; learned as ``clip_norm``, with ``per="scalar"`` only.

    Raises:
        ValueError: if ``limit`` is out of range or learned per variable or element, or ``rule`` is not a
            rule.

    Reference: Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural
    networks", algorithm 1.
    """

    rule: Rule
    limit: Hyperparameter

    argument: ClassVar = "limit"
    learned_name: ClassVar = "clip_norm"
    allowed: ClassVar = POSITIVE

    def __post_init__(self) -> None:
        if isinstance(self.limit, Learned) and self.limit.per != "scalar":
            raise ValueError(
                f"limit=learned(per={self.limit.per!r}) has no meaning for a norm over all variables: "
                "use per='scalar', or clip_by_value"
            )
        super().__post_init__()

    def before(
        self, gradients: Parameters, parameters: Parameters, value: dict[str, Any]
    ) -> tuple[Parameters, Parameters]:
        norm = root(tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients.values()]))
        norm += norm - norm  # 0, but NaN for an infinite norm
        clipped = {key: gradient / tf.maximum(norm / value[key], 1) for key, gradient in gradients.items()}
        return clipped, parameters

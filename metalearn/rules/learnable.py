"""Meta-learned hyperparameters: the tensor that is learned, and the value computed from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metalearn.checks import require_count, require_finite, require_positive, require_range
from metalearn.rules.records import Record, arguments, as_call, defaults_of
from metalearn.types import Parameters, Structure

SHAPE_PER: dict[str, Callable[[tf.Tensor], list[int]]] = {
    "scalar": lambda parameter: [],
    "variable": lambda parameter: [],
    "element": lambda parameter: parameter.shape.as_list(),
}
"""The choices of ``per``, with the shape of a hyperparameter for one variable."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Learned(Record):
    """A hyperparameter that is learned in the outer loop; see :func:`learned` for the fields."""

    initial: float
    per: str
    steps: int | None
    positive: bool
    within: tuple[float, float] | None

    def __post_init__(self) -> None:
        require_finite("initial", self.initial)
        if self.per not in list(SHAPE_PER):
            raise ValueError(f"per must be one of {', '.join(SHAPE_PER)}, got {self.per!r}")
        if self.steps is not None:
            require_count("steps", self.steps)
        if self.positive:
            require_positive("initial (its logarithm is learned, as positive=True asks)", self.initial)
        if self.within is not None:
            self._require_within(self.within)
            # A list, as from a YAML file, has no hash.
            object.__setattr__(self, "within", tuple(self.within))

    def __repr__(self) -> str:
        return as_call("learned", arguments(self), defaults_of(learned))

    def value(self, leaf: tf.Tensor) -> tf.Tensor:
        """Return the hyperparameter that is computed from a learned tensor h, elementwise.

        ::

            h,    exp(h) if positive,    low + (high - low) sigmoid(h) if within=(low, high)
        """
        if self.positive:
            return tf.exp(leaf)
        if self.within is not None:
            low, high = map(float, self.within)
            return low + (high - low) * tf.sigmoid(leaf)
        return leaf

    def raw(self, value: float) -> float:
        """Return the number h whose :meth:`value` is ``value``."""
        if self.positive:
            return math.log(value)
        if self.within is not None:
            low, high = self.within
            return math.log((value - low) / (high - value))
        return value

    def start(self, parameters: Parameters) -> Structure:
        """Return the initial h: a tensor ``[steps?]``, or by key ``[steps?]`` or ``[steps?, *shape]``."""
        number = self.raw(self.initial)
        steps = [] if self.steps is None else [self.steps]
        filled = {
            key: tf.fill(steps + SHAPE_PER[self.per](parameter), tf.constant(number, parameter.dtype))
            for key, parameter in parameters.items()
        }
        return next(iter(filled.values()), {}) if self.per == "scalar" else filled

    def at(self, leaf: tf.Tensor, step: int | tf.Tensor) -> tf.Tensor:
        """Return the hyperparameter of inner step ``step``, from the values h of all steps."""
        if self.steps is None:
            return self.value(leaf)
        last = self.steps - 1
        if isinstance(step, int):
            return self.value(leaf[min(step, last)])
        # Tasks that continue inner loops may be at different steps, which a vectorised slice does not allow,
        # and the gradient of a gather is no tensor.
        chosen = tf.range(self.steps) == tf.minimum(tf.cast(step, tf.int32), last)
        chosen = tf.reshape(chosen, [-1] + [1] * (leaf.shape.rank - 1))
        return self.value(tf.reduce_sum(tf.where(chosen, leaf, tf.zeros_like(leaf)), 0))

    def _require_within(self, within: Any) -> None:
        if self.positive:
            raise ValueError(
                f"positive=True and within={within!r} exclude each other: leave out positive; a lower "
                "bound of at least 0 in within keeps the value positive, too"
            )
        require_range("within", within)
        low, high = within
        if low == high:
            raise ValueError(f"within must be [low, high] with low below high, got {within!r}")
        if not low < self.initial < high:
            raise ValueError(
                f"initial must lie strictly inside within={within!r}, whose ends are never reached, "
                f"got {self.initial!r}"
            )


def learned(
    initial: float,
    per: str = "scalar",
    steps: int | None = None,
    positive: bool = False,
    within: tuple[float, float] | None = None,
) -> Learned:
    """Return a hyperparameter that is a meta-parameter, for any argument of any rule.

    The learned tensor h gives the hyperparameter of inner step k::

        v(h),  or with ``steps``  v(h[min(k, steps - 1)]);
        v(h) = h,  or with positive=True  exp(h),  or with within=(low, high)
        low + (high - low) sigmoid(h)

    Inner steps beyond ``steps`` use the last value, so that more steps can be evaluated than were trained
    with. Without ``positive`` and ``within``, a value may leave the range that its initial value must be in.
    Use ``within=(0, 1)`` for a value that must stay in [0, 1), such as a decay rate or momentum.

    Args:
        initial: the value of the hyperparameter before meta-training.
        per: ``"scalar"`` for one value for the whole rule (a tensor), ``"variable"`` for one for each
            variable (a dict by key; the per-layer rates of LSLR), ``"element"`` for one for each element of
            each variable (a dict by key; Meta-SGD).
        steps: the number of inner steps that have their own values, on a leading axis; at least 1.
        positive: learn the logarithm of the value.
        within: ``(low, high)``, finite, with ``initial`` strictly between them: learn the logit of the
            relative position of the value in this interval. Not together with ``positive``.

    Raises:
        ValueError: if ``initial`` is not finite, not positive although its logarithm is learned, or not
            strictly inside ``within``; if ``per`` is unknown; if ``steps`` is not a positive integer; if
            ``within`` is not a pair of increasing finite numbers, or given together with ``positive``.

    >>> learned(0.01, per="element", positive=True)
    learned(initial=0.01, per='element', positive=True)

    Reference: Li et al. (2017), "Meta-SGD", equation 1; Antoniou, Edwards and Storkey (2019), "How to
    train your MAML", section 4, "Learning Per-Layer Per-Step Learning Rates" (LSLR).
    """
    return Learned(initial, per, steps, positive, within)

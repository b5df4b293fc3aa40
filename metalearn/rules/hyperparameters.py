"""What a rule's hyperparameter may be: a number, a schedule over the inner steps, or meta-learned."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from metalearn.checks import require_count, require_positive
from metalearn.types import Parameters, Structure

SHAPE_PER: dict[str, Callable[[tf.Tensor], list[int]]] = {
    "scalar": lambda parameter: [],
    "variable": lambda parameter: [],
    "element": lambda parameter: parameter.shape.as_list(),
}
"""What a learned hyperparameter is learned per -> the shape of its value for one variable."""


@dataclasses.dataclass(frozen=True)
class Learned:
    """A hyperparameter to learn in the outer loop; made by :func:`learned`."""

    initial: float
    per: str
    steps: int | None
    positive: bool

    def __post_init__(self) -> None:
        require_finite("initial", self.initial, ANY)
        if self.per not in list(SHAPE_PER):
            raise ValueError(f"per must be one of {', '.join(SHAPE_PER)}, got {self.per!r}")
        if self.steps is not None:
            require_count("steps", self.steps)
        if self.positive:
            require_positive("initial (its logarithm is learned, as positive=True asks)", self.initial)


Hyperparameter: TypeAlias = "float | keras.optimizers.schedules.LearningRateSchedule | Learned"
"""A constant; a Keras schedule, called with the inner step (from 0); or what :func:`learned` returns.

Schedules compute in Keras' ``floatx``, float32 unless changed, also for parameters in float64.
"""

Values = Mapping[str, Hyperparameter]
"""A rule's hyperparameters by name."""


def learned(initial: float, per: str = "scalar", steps: int | None = None, positive: bool = False) -> Learned:
    """Return a hyperparameter that is part of the meta-parameters, for any argument of any rule.

    What is learned, h, becomes the hyperparameter of inner step k as

        h,  h[min(k, steps - 1)],  or with positive=True  exp(h), exp(h[min(k, steps - 1)])

    Inner steps beyond ``steps`` use the last value, so one may evaluate with more steps than in training.
    A value may leave the range that its initial value is held to; ``positive`` keeps it above 0.

    Args:
        initial: the value of the hyperparameter before meta-training.
        per: what has a value of its own: the whole rule (``"scalar"``: one tensor), each
            ``"variable"`` (a dict by key; the per-layer rates of LSLR) or each ``"element"`` of each
            variable (a dict by key; Meta-SGD).
        steps: give each of so many inner steps its own value, on a leading axis; at least 1.
        positive: learn the logarithm.

    Raises:
        ValueError: if ``initial`` is not finite, or not positive where its logarithm is learned; if
            ``per`` is unknown; if ``steps`` is not a positive integer.

    Reference: Li et al. (2017), "Meta-SGD", equation 1; Antoniou, Edwards and Storkey (2019), "How to
    train your MAML", section 4, "Learning Per-Layer Per-Step Learning Rates" (LSLR).
    """
    return Learned(initial, per, steps, positive)


class Range(NamedTuple):
    """The values that a hyperparameter may start from."""

    contains: Callable[[float], bool]
    description: str


ANY = Range(lambda value: True, "")
POSITIVE = Range(lambda value: value > 0, " above 0")
NON_NEGATIVE = Range(lambda value: value >= 0, " of at least 0")
FRACTION = Range(lambda value: 0 <= value < 1, " in [0, 1)")


def require_finite(name: str, value: object, allowed: Range) -> None:
    """Raise ValueError unless ``value`` is a finite number in the range ``allowed``."""
    is_finite = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_finite or not allowed.contains(value):  # type: ignore[arg-type]
        raise ValueError(f"{name} must be a finite number{allowed.description}, got {value!r}")


def within(allowed: Range, **values: object) -> Values:
    """Return ``values``, having checked that each is a :data:`Hyperparameter` that starts ``allowed``.

    What a schedule will return is not known before it is called.

    Raises:
        ValueError: naming the hyperparameter, its value and what it may be.
    """
    for name, value in values.items():
        if isinstance(value, Learned):
            require_finite(f"{name}=learned(initial)", value.initial, allowed)
        elif isinstance(value, Real):
            require_finite(name, value, allowed)
        elif not isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
            raise ValueError(
                f"{name} must be a number, a keras.optimizers.schedules.LearningRateSchedule or "
                f"metalearn.rules.learned(...), got {value!r}"
            )
    return values


def initial_values(values: Values, parameters: Parameters) -> dict[str, Structure]:
    """Return what the outer loop learns, by name: the initial values of the learned ones of ``values``."""
    return {name: _initial(value, parameters) for name, value in values.items() if isinstance(value, Learned)}


def current_values(
    values: Values, hyperparameters: Structure, parameters: Parameters, step: int | tf.Tensor
) -> dict[str, dict[str, Any]]:
    """Return the hyperparameters of an inner step: for each variable's key, values by name.

    Args:
        values: the rule's hyperparameters.
        hyperparameters: as from :func:`initial_values`; not read where nothing is learned.
        parameters: to have a value for each.
        step: from 0, a Python integer or a scalar tensor.

    Returns:
        Constants as Python numbers, which TensorFlow folds into the update; anything else as a tensor of
        the variable's type, of its shape or a scalar.

    Raises:
        ValueError: naming a learned value that ``hyperparameters`` lacks.
    """
    now = {name: _now(name, value, hyperparameters, step) for name, value in values.items()}
    return {
        key: {name: _of_variable(value, key, parameter.dtype) for name, value in now.items()}
        for key, parameter in parameters.items()
    }


def ones_per_value(value: Hyperparameter, parameter: tf.Tensor) -> tf.Tensor:
    """Return ones of the shape that ``value`` has for ``parameter``, for a state that accumulates it."""
    shape = SHAPE_PER[value.per](parameter) if isinstance(value, Learned) else []
    return tf.ones(shape, parameter.dtype)


def _initial(value: Learned, parameters: Parameters) -> Structure:
    number = math.log(value.initial) if value.positive else value.initial
    steps = [] if value.steps is None else [value.steps]
    filled = {
        key: tf.fill(steps + SHAPE_PER[value.per](parameter), tf.constant(number, parameter.dtype))
        for key, parameter in parameters.items()
    }
    return next(iter(filled.values()), {}) if value.per == "scalar" else filled


def _now(name: str, value: Hyperparameter, hyperparameters: Structure, step: int | tf.Tensor) -> Any:
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        return value(step)
    if not isinstance(value, Learned):
        return float(value)
    if name not in hyperparameters:
        raise ValueError(
            f"{name} is learned, but the hyperparameters hold {list(hyperparameters)} only: pass what "
            "rule.hyperparameters(parameters) returned"
        )
    return tf.nest.map_structure(lambda leaf: _learned_now(value, leaf, step), hyperparameters[name])


def _learned_now(value: Learned, leaf: tf.Tensor, step: int | tf.Tensor) -> tf.Tensor:
    if value.steps is not None:
        last = value.steps - 1
        # Slicing, not gathering: its gradient is a tensor, not IndexedSlices.
        leaf = leaf[min(step, last) if isinstance(step, int) else tf.minimum(step, last)]
    return tf.exp(leaf) if value.positive else leaf


def _of_variable(value: Any, key: str, dtype: tf.DType) -> Any:
    if isinstance(value, float):
        return value
    return tf.cast(value[key] if isinstance(value, dict) else value, dtype)

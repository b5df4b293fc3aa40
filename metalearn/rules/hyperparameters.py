"""What a rule's hyperparameter may be: a number, a schedule over the inner steps, or meta-learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from metalearn.rules.learnable import SHAPE_PER, Learned
from metalearn.types import Parameters, Structure

Hyperparameter: TypeAlias = "float | keras.optimizers.schedules.LearningRateSchedule | Learned"
"""A constant; a Keras schedule, called with the inner step (from 0); or what :func:`learned` returns.

Schedules compute in Keras' ``floatx``, float32 unless changed, also for parameters in float64.
"""

Settings: TypeAlias = Mapping[str, Hyperparameter]
"""A rule's hyperparameters by name."""


class Range(NamedTuple):
    """The values that a hyperparameter may start from.

    Attributes:
        contains: whether a finite number is one of them.
        description: for messages.
        remedy: how a learned value is kept in the range, for messages.
    """

    contains: Callable[[float], bool]
    description: str
    remedy: str


POSITIVE = Range(lambda value: value > 0, " above 0", "positive=True")
NON_NEGATIVE = Range(lambda value: value >= 0, " of at least 0", "within=(0, high) or positive=True")
FRACTION = Range(lambda value: 0 <= value < 1, " in [0, 1)", "within=(0, 1)")


def require_in(allowed: Range, name: str, value: object, hint: str = "") -> None:
    """Raise ValueError unless ``value`` is a finite number in the range ``allowed``."""
    is_finite = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_finite or not allowed.contains(value):  # type: ignore[arg-type]
        raise ValueError(f"{name} must be a finite number{allowed.description}, got {value!r}{hint}")


def require_hyperparameter(allowed: Range, name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a :data:`Hyperparameter` that starts in the range ``allowed``.

    What a schedule will return is not known before it is called.

    Raises:
        ValueError: naming the hyperparameter, its value and what it may be.
    """
    if isinstance(value, Learned):
        hint = f"; where it starts in there, {allowed.remedy} keeps what is learned in there"
        require_in(allowed, f"{name}=learned(initial)", value.initial, hint)
    elif isinstance(value, Real):
        require_in(allowed, name, value)
    elif not isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        raise ValueError(
            f"{name} must be a number, a keras.optimizers.schedules.LearningRateSchedule or "
            f"metalearn.rules.learned(...), got {value!r}"
        )


def initial_values(settings: Settings, parameters: Parameters) -> dict[str, Structure]:
    """Return what the outer loop learns, by name: the initial values of the learned ones of ``settings``."""
    return {name: value.start(parameters) for name, value in settings.items() if isinstance(value, Learned)}


def current_values(
    settings: Settings, values: Structure, parameters: Parameters, step: int | tf.Tensor
) -> dict[str, dict[str, Any]]:
    """Return the hyperparameters of an inner step: for each variable's key, values by name.

    Args:
        settings: the rule's hyperparameters.
        values: as from :func:`initial_values`; not read where nothing is learned.
        parameters: to have a value for each.
        step: from 0, a Python integer or a scalar tensor.

    Returns:
        Constants as Python numbers, which TensorFlow folds into the update; anything else as a tensor of
        the variable's type, of its shape or a scalar.

    Raises:
        ValueError: naming a learned value that ``values`` lacks.
    """
    now = {name: _now(name, value, values, step) for name, value in settings.items()}
    return {
        key: {name: _of_variable(value, key, parameter.dtype) for name, value in now.items()}
        for key, parameter in parameters.items()
    }


def ones_per_value(value: Hyperparameter, parameter: tf.Tensor) -> tf.Tensor:
    """Return ones of the shape that ``value`` has for ``parameter``, for a state that accumulates it."""
    shape = SHAPE_PER[value.per](parameter) if isinstance(value, Learned) else []
    return tf.ones(shape, parameter.dtype)


def _now(name: str, value: Hyperparameter, values: Structure, step: int | tf.Tensor) -> Any:
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        return value(step)
    if not isinstance(value, Learned):
        return float(value)
    if name not in values:
        raise ValueError(
            f"{name} is learned, but the values hold {list(values)} only: pass what "
            "rule.learnable(parameters) returned"
        )
    return tf.nest.map_structure(lambda leaf: value.at(leaf, step), values[name])


def _of_variable(value: Any, key: str, dtype: tf.DType) -> Any:
    if isinstance(value, float):
        return value
    return tf.cast(value[key] if isinstance(value, dict) else value, dtype)

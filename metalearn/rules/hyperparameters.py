"""Hyperparameters of rules: numbers, schedules over the inner steps, or meta-learned values."""

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
"""A constant; a Keras schedule, called with the inner step (from 0); or the result of :func:`learned`.

Schedules are computed in Keras' ``floatx``, by default float32, also for parameters in float64.
"""

Settings: TypeAlias = Mapping[str, Hyperparameter]
"""A rule's hyperparameters by name."""


class Range(NamedTuple):
    """The allowed initial values of a hyperparameter.

    Attributes:
        contains: whether a finite number is one of them.
        description: of the range, for messages.
        remedy: how to keep a learned value in the range, for messages.
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
    """Raise ValueError unless ``value`` is a :data:`Hyperparameter` with an initial value in ``allowed``.

    The values of a schedule are not checked.

    Raises:
        ValueError: naming the hyperparameter, its value and the allowed values.
    """
    if isinstance(value, Learned):
        hint = f"; for an initial value in this range, {allowed.remedy} keeps the learned value in it"
        require_in(allowed, f"{name}=learned(initial)", value.initial, hint)
    elif isinstance(value, Real):
        require_in(allowed, name, value)
    elif not isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        raise ValueError(
            f"{name} must be a number, a keras.optimizers.schedules.LearningRateSchedule or "
            f"metalearn.rules.learned(...), got {value!r}"
        )


def initial_values(settings: Settings, parameters: Parameters) -> dict[str, Structure]:
    """Return the initial values of the learned hyperparameters in ``settings``, by name."""
    return {name: value.start(parameters) for name, value in settings.items() if isinstance(value, Learned)}


def current_values(
    settings: Settings, values: Structure, parameters: Parameters, step: int | tf.Tensor
) -> dict[str, dict[str, Any]]:
    """Return the hyperparameters of an inner step: for each variable's key, values by name.

    Args:
        settings: the rule's hyperparameters.
        values: as from :func:`initial_values`; not used if nothing is learned.
        parameters: the variables that need hyperparameters.
        step: from 0, a Python integer or a scalar tensor.

    Returns:
        Constants as Python numbers, which TensorFlow folds into the update; all others as tensors of the
        variable's type, scalar or of its shape.

    Raises:
        ValueError: naming a learned value that ``values`` lacks.
    """
    now = {name: _now(name, value, values, step) for name, value in settings.items()}
    return {
        key: {name: _of_variable(value, key, parameter.dtype) for name, value in now.items()}
        for key, parameter in parameters.items()
    }


def ones_per_value(value: Hyperparameter, parameter: tf.Tensor) -> tf.Tensor:
    """Return ones of the shape of ``value`` for ``parameter``, the initial state of a running product."""
    shape = SHAPE_PER[value.per](parameter) if isinstance(value, Learned) else []
    return tf.ones(shape, parameter.dtype)


def _now(name: str, value: Hyperparameter, values: Structure, step: int | tf.Tensor) -> Any:
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        return value(step)
    if not isinstance(value, Learned):
        return float(value)
    if name not in values:
        raise ValueError(
            f"{name} is learned, but the values contain {list(values)} only: pass what "
            "rule.learnable(parameters) returned"
        )
    return tf.nest.map_structure(lambda leaf: value.at(leaf, step), values[name])


def _of_variable(value: Any, key: str, dtype: tf.DType) -> Any:
    if isinstance(value, float):
        return value
    return tf.cast(value[key] if isinstance(value, dict) else value, dtype)

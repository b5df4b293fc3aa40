"""Equality and repr of rules and settings."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np


class Record:
    """A mixin for frozen dataclasses: records with equal fields are equal, and ``repr`` is valid Python.

    Unlike the methods of dataclasses, it compares and prints Keras' schedules, which have neither equality
    nor repr, by class and configuration, and it prints NumPy's numbers like Python's. Decorate subclasses
    with ``@dataclasses.dataclass(frozen=True, eq=False, repr=False)``.
    """

    def __eq__(self, other: object) -> bool:
        return comparable(self) == comparable(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(comparable(self))

    def __repr__(self) -> str:
        return as_call(type(self).__name__, arguments(self))


def arguments(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def comparable(value: Any) -> Any:
    """Return a hashable value for comparing a setting, equal for equal settings."""
    if isinstance(value, Record):
        return type(value), comparable(arguments(value))
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        config = _config(value)
        return value if config is None else (type(value), comparable(config))
    if isinstance(value, Mapping):
        return tuple(sorted((key, comparable(entry)) for key, entry in value.items()))
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(map(comparable, value))
    return value.item() if isinstance(value, np.generic) else value


def as_call(name: str, given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> str:
    """Return the Python call that creates a setting, without arguments that equal their defaults."""
    defaults = defaults or {}
    shown = [
        f"{key}={_printed(value)}"
        for key, value in given.items()
        if key not in defaults or comparable(defaults[key]) != comparable(value)
    ]
    return f"{name}({', '.join(shown)})"


def defaults_of(function: Any) -> dict[str, Any]:
    """Return the arguments of a function or class that have defaults, with these."""
    parameters = inspect.signature(function).parameters.items()
    return {key: each.default for key, each in parameters if each.default is not each.empty}


def _printed(value: Any) -> str:
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        config = _config(value)
        if config is not None:
            return as_call(type(value).__name__, config, defaults_of(type(value)))
    if isinstance(value, (list, tuple)):
        inside = ", ".join(map(_printed, value)) + "," * (len(value) == 1 and isinstance(value, tuple))
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    if isinstance(value, np.ndarray):
        return _printed(value.tolist())
    return repr(value.item() if isinstance(value, np.generic) else value)


def _config(schedule: keras.optimizers.schedules.LearningRateSchedule) -> dict[str, Any] | None:
    """Return the arguments of a schedule, or None if a schedule of the user's own has no configuration."""
    try:
        return schedule.get_config()
    except NotImplementedError:
        return None

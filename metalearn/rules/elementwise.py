"""Rules that treat every element of every variable alike, built from the update of one variable."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias

import tensorflow as tf

from metalearn.rules.hyperparameters import (
    Range,
    Settings,
    current_values,
    initial_values,
    require_hyperparameter,
)
from metalearn.rules.records import Record
from metalearn.types import Parameters, Rule, Structure

Slots = dict[str, tf.Tensor]
"""A rule's state of one variable, by name."""

Value: TypeAlias = Any
"""A hyperparameter now: a Python number, or a tensor of the variable's type."""

Moved: TypeAlias = tuple[tf.Tensor, Slots]
"""A variable and its slots after a step."""


Start: TypeAlias = Callable[[tf.Tensor], tf.Tensor]
"""A variable -> the initial value of a slot."""


class Point(NamedTuple):
    """Where one variable is before a step.

    Attributes:
        parameter: its value.
        gradient: of the inner loss.
        slots: what the rule kept.
        step: counted from 0.
    """

    parameter: tf.Tensor
    gradient: tf.Tensor
    slots: Slots
    step: int | tf.Tensor

    def power(self, decay: Value, ahead: int = 1) -> tf.Tensor:
        """Return ``decay ** (step + ahead)``, differentiable in ``decay`` (``math.pow`` cuts the tape)."""
        dtype = self.parameter.dtype
        return tf.pow(tf.convert_to_tensor(decay, dtype), tf.cast(self.step + ahead, dtype))


class Elementwise(Record, Rule):
    """A rule that moves one variable after another; what its elements share are the hyperparameters.

    Subclasses are frozen dataclasses whose fields are the rule's arguments.

    Attributes:
        ranges: by name, what each hyperparameter may start from; other fields are options.
    """

    ranges: ClassVar[Mapping[str, Range]]

    def __post_init__(self) -> None:
        for name, value in self.settings().items():
            require_hyperparameter(self.ranges[name], name, value)

    @abc.abstractmethod
    def move(self, point: Point, *args: Any, **kwargs: Any) -> Moved:
        """Return one variable and its slots after a step, given every hyperparameter by name."""
        ...

    def slots(self) -> Mapping[str, Start]:
        """Return what is kept from step to step, by name, and how it starts."""
        return {}

    def settings(self) -> Settings:
        return {name: getattr(self, name) for name in self.ranges}

    def learnable(self, parameters: Parameters) -> Structure:
        return initial_values(self.settings(), parameters)

    def init(self, parameters: Parameters) -> Structure:
        return {
            name: {key: start(parameter) for key, parameter in parameters.items()}
            for name, start in self.slots().items()
        }

    def update(
        self,
        gradients: Parameters,
        state: Structure,
        parameters: Parameters,
        values: Structure,
        step: int | tf.Tensor,
    ) -> tuple[Parameters, Structure]:
        now = current_values(self.settings(), values, parameters, step)
        names = list(self.slots())
        moved: Parameters = {}
        kept: dict[str, Parameters] = {name: {} for name in names}
        for key, parameter in parameters.items():
            point = Point(parameter, gradients[key], {name: state[name][key] for name in names}, step)
            moved[key], after = self.move(point, **now[key])
            for name in names:
                kept[name][key] = after[name]
        return moved, kept


def mean(before: tf.Tensor, new: tf.Tensor, decay: Value) -> tf.Tensor:
    """Return the moving mean ``decay before + (1 - decay) new``."""
    return before + (1 - decay) * (new - before)


def root(value: tf.Tensor) -> tf.Tensor:
    """Return the square root of a second moment, with derivative 0 where there is no gradient yet.

    The chain rule through ``sqrt(g^2)`` at g = 0 is infinity times zero: one parameter without a gradient
    (a dead unit) makes the whole meta-gradient NaN. ``|g|`` has slopes -1 and 1 there; 0 lies between, and
    it multiplies a first moment that is 0, so the derivative of the update is the true one.
    """
    absent = tf.equal(value, 0)
    return tf.where(absent, tf.zeros_like(value), tf.sqrt(tf.where(absent, tf.ones_like(value), value)))

"""Rules with the same update for every element of every variable, defined by the update of one variable."""

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
"""The state of a rule for one variable, by name."""

Value: TypeAlias = Any
"""The current value of a hyperparameter: a Python number, or a tensor of the variable's type."""

Moved: TypeAlias = tuple[tf.Tensor, Slots]
"""A variable and its slots after a step."""


Start: TypeAlias = Callable[[tf.Tensor], tf.Tensor]
"""A function from a variable to the initial value of a slot."""


class Point(NamedTuple):
    """One variable before a step.

    Attributes:
        parameter: its value.
        gradient: of the inner loss with respect to it.
        slots: the state of the rule.
        step: counted from 0.
    """

    parameter: tf.Tensor
    gradient: tf.Tensor
    slots: Slots
    step: int | tf.Tensor

    def power(self, decay: Value, ahead: int = 1) -> tf.Tensor:
        """Return ``decay ** (step + ahead)``, differentiable in ``decay``, which ``math.pow`` is not."""
        dtype = self.parameter.dtype
        return tf.pow(tf.convert_to_tensor(decay, dtype), tf.cast(self.step + ahead, dtype))


class Elementwise(Record, Rule):
    """A rule that updates each variable independently, with shared hyperparameters.

    Subclasses are frozen dataclasses whose fields are the arguments of the rule.

    Attributes:
        ranges: by name, the initial values that each hyperparameter may have; other fields are options.
    """

    ranges: ClassVar[Mapping[str, Range]]

    def __post_init__(self) -> None:
        for name, value in self.settings().items():
            require_hyperparameter(self.ranges[name], name, value)

    @abc.abstractmethod
    def move(self, point: Point, *args: Any, **kwargs: Any) -> Moved:
        """Return one variable and its slots after a step; hyperparameters are passed by name."""
        ...

    def slots(self) -> Mapping[str, Start]:
        """Return the slots by name, with the functions of their initial values."""
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
    """Return the exponential moving average ``decay before + (1 - decay) new``."""
    return before + (1 - decay) * (new - before)


def root(value: tf.Tensor) -> tf.Tensor:
    """Return the square root of a second moment, with derivative 0 where all gradients so far were 0.

    For ``sqrt(g^2)`` at g = 0 the chain rule gives infinity times zero, so one parameter without a gradient
    (a dead unit) would make the whole meta-gradient NaN. The one-sided derivatives of ``|g|`` are -1 and 1.
    The value 0 is a subgradient, and it is multiplied by a first moment of 0, so the derivative of the update
    is exact.
    """
    absent = tf.equal(value, 0)
    return tf.where(absent, tf.zeros_like(value), tf.sqrt(tf.where(absent, tf.ones_like(value), value)))

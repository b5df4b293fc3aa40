"""Rules that treat every element of every variable alike, built from the update of one variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from metalearn.rules.hyperparameters import Values, current_values, initial_values
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


Move: TypeAlias = Callable[..., Moved]
"""``(point, <hyperparameters by name>) -> (parameter, slots)``."""


def elementwise(move: Move, values: Values, slots: Mapping[str, Start]) -> Rule:
    """Return the rule that applies ``move`` to one variable after another.

    Args:
        move: the update of one variable.
        values: hyperparameters that ``move`` takes by name.
        slots: what is kept from step to step, by name, and how it starts.
    """

    def init(parameters: Parameters) -> Structure:
        return {
            name: {key: start(parameter) for key, parameter in parameters.items()}
            for name, start in slots.items()
        }

    def update(
        gradients: Parameters,
        state: Structure,
        parameters: Parameters,
        hyperparameters: Structure,
        step: tf.Tensor,
    ) -> tuple[Parameters, Structure]:
        now = current_values(values, hyperparameters, parameters, step)
        moved: Parameters = {}
        kept: dict[str, Parameters] = {name: {} for name in slots}
        for key, parameter in parameters.items():
            point = Point(parameter, gradients[key], {name: state[name][key] for name in slots}, step)
            moved[key], after = move(point, **now[key])
            for name in slots:
                kept[name][key] = after[name]
        return moved, kept

    return Rule(lambda parameters: initial_values(values, parameters), init, update)


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

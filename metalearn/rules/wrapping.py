"""The common part of rules that wrap another rule and have one hyperparameter."""

from __future__ import annotations

import abc
import functools
from typing import Any, ClassVar

import tensorflow as tf

from metalearn.rules.description import settings_of
from metalearn.rules.hyperparameters import (
    Hyperparameter,
    Range,
    Settings,
    current_values,
    initial_values,
    require_hyperparameter,
)
from metalearn.rules.learnable import Learned
from metalearn.rules.lookup import get
from metalearn.rules.records import Record
from metalearn.types import Parameters, Rule, Structure


class Wrapper(Record, Rule):
    """A rule that wraps another one, with one hyperparameter; that of the wrapped rule are still learned.

    Subclasses are frozen dataclasses of two fields, the rule and the hyperparameter.

    Attributes:
        rule: any rule, or the name of one.
        argument: the name of the field with the hyperparameter.
        learned_name: of the hyperparameter in the meta-parameters. If the wrapped rule already uses it, a
            number is appended: ``clip_value``, ``clip_value_2``.
        allowed: the initial values that it may have.
    """

    rule: Rule
    argument: ClassVar[str]
    learned_name: ClassVar[str]
    allowed: ClassVar[Range]

    def __post_init__(self) -> None:
        require_hyperparameter(self.allowed, self.argument, self._own)
        resolve_rule(self)

    @abc.abstractmethod
    def before(
        self, gradients: Parameters, parameters: Parameters, value: dict[str, Any]
    ) -> tuple[Parameters, Parameters]:
        """Return the gradients and parameters for the update of the wrapped rule.

        Args:
            gradients: of the inner loss.
            parameters: theta_k.
            value: the current hyperparameter, for every key.
        """
        ...

    def learnable(self, parameters: Parameters) -> Structure:
        own = initial_values(self._settings, parameters)
        learned = self.rule.learnable(parameters)
        return {**learned, **own} if own else learned

    def init(self, parameters: Parameters) -> Structure:
        return self.rule.init(parameters)

    def update(
        self,
        gradients: Parameters,
        state: Structure,
        parameters: Parameters,
        values: Structure,
        step: int | tf.Tensor,
    ) -> tuple[Parameters, Structure]:
        now = current_values(self._settings, values, parameters, step)
        own = {key: now[key][self._name] for key in now}
        gradients, parameters = self.before(gradients, parameters, own)
        if isinstance(self._own, Learned):
            values = {key: leaf for key, leaf in values.items() if key != self._name}
        return self.rule.update(gradients, state, parameters, values, step)

    def settings(self) -> Settings:
        others = dict(settings_of(self.rule))
        if self._name in others:
            # A constant, since learned hyperparameters have other names.
            other = free_name(self.learned_name, others)
            others[other] = others.pop(self._name)
        return {**others, **self._settings}

    @property
    def _own(self) -> Hyperparameter:
        return getattr(self, self.argument)

    @functools.cached_property
    def _name(self) -> str:
        taken = self.rule.learnable({}) if isinstance(self._own, Learned) else settings_of(self.rule)
        return free_name(self.learned_name, taken)

    @property
    def _settings(self) -> Settings:
        return {self._name: self._own}


def resolve_rule(wrapper: Any) -> None:
    """Replace the name in the field ``rule`` of a wrapper by the rule; see :func:`metalearn.rules.get`."""
    object.__setattr__(wrapper, "rule", get(wrapper.rule))


def free_name(name: str, taken: Structure) -> str:
    """Return ``name``, with the smallest number from 2 appended if the name is taken."""
    candidates = [name] + [f"{name}_{count}" for count in range(2, len(taken) + 2)]
    return next(candidate for candidate in candidates if candidate not in taken)

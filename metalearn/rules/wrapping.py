"""What all wrappers of rules share: they change what a rule is given, and may learn one number more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf

from metalearn.rules.hyperparameters import Hyperparameter, Learned, current_values, initial_values
from metalearn.types import Parameters, Rule, Structure

Before: TypeAlias = Callable[[Parameters, Parameters, dict[str, Any]], tuple[Parameters, Parameters]]
"""``(gradients, parameters, value) -> (gradients, parameters)``; ``value`` has one entry per variable."""


def wrap(rule: Rule, before: Before, name: str, value: Hyperparameter) -> Rule:
    """Return ``rule`` with ``before`` applied to what it is given.

    Args:
        rule: any rule; what it learns is learned still, under the same names.
        before: applied to gradients and parameters ahead of the rule's update.
        name: of the wrapper's hyperparameter. Where it is learned and the rule learns something of this
            name already, a number is appended: ``clip_value``, ``clip_value_2``.
        value: of it.

    Raises:
        ValueError: if ``rule`` is not a rule.
    """
    require_rule(rule)
    if isinstance(value, Learned):
        name = _free(name, rule.hyperparameters({}))
    values = {name: value}

    def hyperparameters(parameters: Parameters) -> Structure:
        own = initial_values(values, parameters)
        return {**rule.hyperparameters(parameters), **own} if own else rule.hyperparameters(parameters)

    def update(
        gradients: Parameters,
        state: Structure,
        parameters: Parameters,
        hyperparameters: Structure,
        step: tf.Tensor,
    ) -> tuple[Parameters, Structure]:
        now = current_values(values, hyperparameters, parameters, step)
        gradients, parameters = before(gradients, parameters, {key: now[key][name] for key in now})
        if isinstance(value, Learned):
            hyperparameters = {key: leaf for key, leaf in hyperparameters.items() if key != name}
        return rule.update(gradients, state, parameters, hyperparameters, step)

    return Rule(hyperparameters, rule.init, update)


def require_rule(rule: object) -> None:
    """Raise ValueError unless ``rule`` is a rule."""
    if not isinstance(rule, Rule):
        raise ValueError(f"rule must be a metalearn rule, as rules.sgd() returns, got {rule!r}")


def _free(name: str, taken: Structure) -> str:
    candidates = [name] + [f"{name}_{count}" for count in range(2, len(taken) + 2)]
    return next(candidate for candidate in candidates if candidate not in taken)

"""Optional descriptions of rules; a rule that has only the three required methods has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from metalearn.types import Parameters, Rule, Structure


def settings_of(rule: Rule) -> Mapping[str, Any]:
    """Return :meth:`metalearn.types.Rule.settings` of a rule, or ``{}`` if it has no such method."""
    return _optional(rule, "settings", {})


def descent_rates_of(
    rule: Rule, parameters: Parameters, values: Structure, step: int | tf.Tensor
) -> Parameters | None:
    """Return :meth:`metalearn.types.Rule.descent_rates` of a rule, or None if it has no such method."""
    return _optional(rule, "descent_rates", None, parameters, values, step)


def _optional(rule: Rule, name: str, default: Any, *arguments: Any) -> Any:
    method = getattr(rule, name, None)
    return method(*arguments) if callable(method) else default

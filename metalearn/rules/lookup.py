"""Rules by name, and checks of rules that name the rule to use instead."""

from __future__ import annotations

import difflib
import importlib
import inspect
from typing import Any, cast

import keras

from metalearn.types import Rule

METHODS = ("learnable", "init", "update")
"""The methods that every rule has."""


def get(rule: str | Rule) -> Rule:
    """Return a rule by its name, with default settings; a rule is returned unchanged.

    >>> get("sgd")
    sgd(learning_rate=0.01)

    Args:
        rule: a rule, or the name of one in :mod:`metalearn.rules` that has a default for every setting.

    Raises:
        ValueError: for an unknown name, with the most similar and all known names; for a rule that has
            settings without defaults, with these; for any other object, and for a Keras optimizer with the
            rule of its name.
    """
    if not isinstance(rule, str):
        require_rule(rule)
        return rule
    known = _known()
    if rule not in known:
        near = difflib.get_close_matches(rule, known, 1)
        suggestion = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"there is no rule {rule!r}: {suggestion}Known are {', '.join(known)}")
    needed = [
        name
        for name, parameter in inspect.signature(known[rule]).parameters.items()
        if parameter.default is parameter.empty
    ]
    if needed:
        raise ValueError(f"the rule {rule!r} needs settings: write rules.{rule}({', '.join(needed)})")
    return cast(Rule, known[rule]())


def require_rule(rule: object) -> None:
    """Raise ValueError unless ``rule`` has the methods of a rule; for a Keras optimizer, name the rule."""
    if isinstance(rule, keras.optimizers.Optimizer):
        raise ValueError(_for_optimizer(rule))
    if isinstance(rule, type) or not all(callable(getattr(rule, name, None)) for name in METHODS):
        raise ValueError(
            f"rule must be a metalearn rule, as rules.sgd() returns, or have the methods "
            f"{', '.join(METHODS)}; got {rule!r}"
        )


def _for_optimizer(optimizer: Any) -> str:
    """Return the message for a Keras optimizer, whose updates of variables cannot be differentiated."""
    name = type(optimizer).__name__
    rule = name.lower()
    if rule == "sgd" and optimizer.momentum:
        rule = "nesterov" if optimizer.nesterov else "momentum"
    known = _known()
    remedy = f"use metalearn.rules.{rule}(...)" if rule in known else f"known rules are {', '.join(known)}"
    return (
        f"rule must be a metalearn rule, got the Keras optimizer {name}, through whose updates no gradient "
        f"flows: {remedy}"
    )


def _known() -> dict[str, type]:
    # Imported here, since wrappers, which are rules, import this module.
    package = importlib.import_module("metalearn.rules")
    exported = {name: getattr(package, name) for name in package.__all__}
    return {name: each for name, each in exported.items() if hasattr(each, "update")}

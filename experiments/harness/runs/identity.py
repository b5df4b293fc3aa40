"""The identity of a run: settings that affect the training, and those that affect only later steps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

Config = dict[str, Any]
"""A configuration, or a part of one, as plain data."""

WITHOUT_EFFECT = ("label", "tracking", "diagnostics", "paths", "run")
"""Settings that cannot change a result."""

AFTERWARDS = ("label", "evaluation")
"""Settings that may be changed for a trained run, because the training does not depend on them."""


def training(config: Config) -> str:
    """Return eight hexadecimal digits that depend on all settings that can affect the training.

    They do not depend on settings of the evaluation, or of a disabled validation. Equal numbers of different
    types, such as 0 and 0.0, are equal.
    """
    without = {*WITHOUT_EFFECT, *AFTERWARDS}
    if (config.get("validation") or {}).get("interval") is None:
        without.add("validation")
    counted = {key: value for key, value in kept(config).items() if key not in without}
    if (config.get("training") or {}).get("workers") == 1:  # as if there were no such setting
        counted["training"] = {key: value for key, value in config["training"].items() if key != "workers"}
    return digest(counted)


def afterwards(config: Config) -> Config:
    """Return the settings of the steps after the training."""
    return {key: config[key] for key in AFTERWARDS if key in config}


def kept(config: Config) -> Config:
    """Return the settings that are stored with a run.

    Trusted packages are omitted, because the user names them for each command, and so are an unused problem
    and unused callbacks.
    """
    without = {"packages", *(key for key in ("problem", "callbacks") if not config.get(key))}
    return {key: value for key, value in config.items() if key not in without}


def same_evaluation(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return whether two configurations, or parts of them, specify the same evaluation."""
    return digest(first.get("evaluation")) == digest(second.get("evaluation"))


def digest(value: Any) -> str:
    """Return eight hexadecimal digits of plain data, equal for equal numbers."""
    return hashlib.sha256(json.dumps(_canonical(value), sort_keys=True).encode()).hexdigest()[:8]


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _canonical(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value

"""Configurations held to the declarations of :mod:`experiments.harness.config.settings`, and their help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from ..errors import UsageError, nearest
from . import kinds, packages
from .kinds import Kind
from .settings import BACKENDS, SETTINGS

Config = dict[str, Any]

OBJECTS = ("task", "model", "rule", "estimator", "optimizer")
"""Sections that describe an object to be built."""

CHANGES = ("evaluation.task", "validation.task")
"""Settings that are settings of the task, changed."""

DEEPEST = 20
"""Sections within sections."""


class Described(NamedTuple):
    """A setting as help shows it."""

    path: str
    kind: str
    default: Any
    help: str


OPTIONAL = ("packages", "problem")
"""Settings that a run need not have: they say nothing of most, and nothing of those before there were any."""

VALUES = tuple(path for path in SETTINGS if "." not in path)

SECTIONS = {
    section: tuple(path.partition(".")[2] for path in SETTINGS if path.startswith(f"{section}."))
    for section in dict.fromkeys(path.partition(".")[0] for path in SETTINGS if "." in path)
    if section not in OBJECTS
}


def resolve(config: DictConfig) -> Config:
    """Return the configuration as plain, checked data, interpolations resolved, with all that is trusted.

    Raises:
        UsageError: as :func:`check`.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return check({**plain, "packages": packages.trusted(plain.get("packages", []))})


def check(config: Any) -> Config:
    """Return a configuration in which every value is as it is used: 1 is 1.0 where a number is meant.

    Raises:
        UsageError: for the first section or setting that is not known, is missing, or has a value that cannot
            be.
    """
    known = [*VALUES, *OBJECTS, *SECTIONS]
    _require_known("", config, known)
    for key in known:
        if key not in config and key not in OPTIONAL:
            raise UsageError(f"the configuration lacks {key}")
    checked = {key: _take(key, config[key]) for key in VALUES if key in config}
    checked |= {section: _object(section, config[section]) for section in OBJECTS}
    checked |= {section: _section(section, config[section]) for section in SECTIONS}
    if checked["validation"]["seed"] == checked["evaluation"]["seed"]:
        raise UsageError(
            f"validation.seed={checked['validation']['seed']} is evaluation.seed, too: what is chosen by "
            "validation must not be evaluated on the same tasks"
        )
    _require_shallow("problem", checked.get("problem"))
    packages.require(checked, checked.get("packages", ()))
    return {key: checked[key] for key in config}


def take(kind: Kind, path: str, value: Any) -> Any:
    """Return a value as it is used.

    Raises:
        UsageError: if it is not of a kind; naming its path.
    """
    try:
        return kind.take(path, value)
    except ValueError as error:
        raise UsageError(str(error)) from error


def describe(defaults: Config) -> list[Described]:
    """Return what help says of each setting that a configuration has, in its order."""
    found = []
    for path, value in _leaves(defaults, ""):
        setting = SETTINGS.get(path) or SETTINGS.get(_of_task(path))
        if setting is not None:
            found.append(Described(path, setting.kind.text, value, setting.help))
    return found


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if (isinstance(value, dict) and "_target_" not in value) or (not prefix and isinstance(value, dict)):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _of_task(path: str) -> str:
    """Return the setting of the task that a change of it is of."""
    for place in CHANGES:
        if path.startswith(f"{place}."):
            return f"task.{path.removeprefix(f'{place}.')}"
    return path


def _take(path: str, value: Any) -> Any:
    setting = SETTINGS.get(_of_task(path))
    return value if setting is None else take(setting.kind, path, value)


def _object(path: str, node: Any) -> Config:
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise UsageError(f"{path}={kinds.shown(node)} does not say what to build: it needs a _target_")
    _require_shallow(path, node)
    return {key: _take(f"{path}.{key}", value) for key, value in node.items()}


def _section(section: str, node: Any) -> Config:
    keys = SECTIONS[section]
    if not isinstance(node, dict):
        raise UsageError(f"{section}={kinds.shown(node)} must be a section with {', '.join(keys)}")
    _require_known(f"{section}.", node, [f"{section}.{key}" for key in keys])
    needed = BACKENDS.get(str(node.get("backend")), ("backend",)) if section == "tracking" else keys
    for key in needed:
        if key not in node:
            raise UsageError(f"the configuration lacks {section}.{key}")
    _require_shallow(section, node)
    checked = {key: _take(f"{section}.{key}", value) for key, value in node.items()}
    if f"{section}.task" in CHANGES:
        task = checked["task"] or {}
        checked["task"] = {key: _take(f"{section}.task.{key}", value) for key, value in task.items()}
    return checked


def _require_known(prefix: str, node: Any, known: list[str]) -> None:
    if not isinstance(node, dict):
        raise UsageError("the configuration is not one: it has no sections")
    for key in node:
        if f"{prefix}{key}" not in known:
            raise UsageError(f"there is no setting {prefix}{key}{nearest(f'{prefix}{key}', known)}")


def _require_shallow(path: str, node: Any, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise UsageError(f"{path} has more than {DEEPEST} sections within sections")
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for part in parts:
        _require_shallow(path, part, depth + 1)

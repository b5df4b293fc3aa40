"""Configurations checked against the declarations of :mod:`experiments.harness.config.settings`, and help."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from ..errors import UsageError, nearest
from ..runs.identity import Config
from . import kinds, packages
from .kinds import Setting
from .part_settings import PARTS, PLACES
from .settings import BACKENDS, TAKEN

OBJECTS = ("task", "model", "rule", "estimator", "optimizer")
"""Sections that describe an object to be built."""

DEEPEST = 20
"""Sections within sections."""


CHANGES = (("evaluation", "task"), ("validation", "task"), ("evaluation", "rule"))
"""Sections, and which of their settings are changes of the section of that name."""

LIBRARIES = ("metalearn.", "experiments.", "keras.")
"""Beginnings of the names of objects whose settings are declared; other objects check their own."""


class Described(NamedTuple):
    """A setting as it is shown by ``--help``."""

    path: str
    kind: str
    default: Any
    help: str


OPTIONAL = (
    *("packages", "problem", "callbacks", "paths.data", "training.loss_interval", "training.workers"),
    *("learner.attack", "evaluation.attacks", "evaluation.rule", "evaluation.queries_at_once"),
)
"""Settings that a stored run may lack, because they do not apply to most runs or did not exist before."""


def resolve(config: DictConfig, command: str = "train") -> Config:
    """Return the configuration of a command as plain, checked data, with the trusted packages.

    Raises:
        UsageError: as :func:`check`.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    if "packages" in TAKEN[command]:
        plain["packages"] = packages.trusted(plain.get("packages", []))
    return check(plain, command)


def check(config: Any, command: str = "train") -> Config:
    """Return a configuration with every value converted to its type: 1 is 1.0 for a number.

    Raises:
        UsageError: for the first section or setting that is unknown, is missing, or has an invalid value.
    """
    known = list(dict.fromkeys(path.partition(".")[0] for path in TAKEN[command]))
    _require_known("", config, known)
    for key in known:
        if key not in config and key not in OPTIONAL:
            raise UsageError(f"the configuration lacks {key}")
    checked = {}
    for key, value in config.items():
        if key in TAKEN[command]:
            checked[key] = TAKEN[command][key].kind.take(key, value)
        else:
            checked[key] = _object(key, value) if key in OBJECTS else _section(key, value, command)
    for section, name in CHANGES:
        changes = checked.get(section, {}).get(name)
        if changes:
            taken = _described(f"{section}.{name}", {"_target_": checked[name]["_target_"], **changes})
            checked[section][name] = {key: taken[key] for key in changes}
    if "validation" in checked and checked["validation"]["seed"] == checked["evaluation"]["seed"]:
        raise UsageError(
            f"validation.seed={checked['validation']['seed']} equals evaluation.seed: what is chosen by "
            "validation must not be evaluated on the same tasks"
        )
    for key in ("problem", "callbacks"):
        _require_shallow(key, checked.get(key))
    if checked.get("problem"):
        checked["problem"] = _described("problem", checked["problem"])
    packages.require(checked, checked.get("packages", ()))
    return checked


def declared(path: str, command: str = "train") -> Setting | None:
    """Return the declaration of a setting, also of an object that is a setting of another one."""
    while path not in TAKEN[command] and path not in PARTS:
        place = next((place for place in PLACES if re.match(place, path)), None)
        if place is None:
            return None
        path = re.sub(place, PLACES[place], path, count=1)
    return TAKEN[command].get(path) or PARTS[path]


def describe(defaults: Config, command: str = "train") -> list[Described]:
    """Return the lines of ``--help`` for each setting that the command takes, in order."""
    sections = {path.partition(".")[0] for path in TAKEN[command]}
    found = []
    for path, value in leaves(defaults):
        section, _, name = path.partition(".")
        if section not in sections or name == "_target_" or name.endswith("._target_"):
            continue
        setting = declared(path, command)
        if setting is not None:
            found.append(Described(path, setting.kind.text, value, setting.help))
        elif section in OBJECTS:
            found.append(Described(path, "checked by it", value, f"of {defaults[section]['_target_']}"))
    return found


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and value of each setting; of an object that is a setting, its name and its own settings."""
    for key, value in node.items():
        path = f"{prefix}{key}"
        if not isinstance(value, dict):
            yield path, value
            continue
        if prefix and "_target_" in value:
            yield path, value
        yield from leaves(value, f"{path}.")


def _object(path: str, node: Any) -> Config:
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise UsageError(f"{path}={kinds.shown(node)} does not say what to build: it needs a _target_")
    _require_shallow(path, node)
    return _described(path, node)


def _described(path: str, node: Config) -> Config:
    """Return an object's settings, converted to their types if they are declared."""
    return _checked(path, node, "train") if node["_target_"].startswith(LIBRARIES) else node


def _checked(path: str, node: Config, command: str) -> Config:
    """Return settings converted to their types, and those of objects among them."""
    checked = {}
    for key, value in node.items():
        place = f"{path}.{key}"
        setting = declared(place, command)
        taken = value if setting is None else setting.kind.take(place, value)
        described = isinstance(taken, dict) and "_target_" in taken
        checked[key] = _described(place, taken) if described else taken
    return checked


def _section(section: str, node: Any, command: str) -> Config:
    keys = [path.partition(".")[2] for path in TAKEN[command] if path.startswith(f"{section}.")]
    if not isinstance(node, dict):
        raise UsageError(f"{section}={kinds.shown(node)} must be a section with {', '.join(keys)}")
    _require_known(f"{section}.", node, [f"{section}.{key}" for key in keys])
    needed = BACKENDS.get(str(node.get("backend")), ("backend",)) if section == "tracking" else keys
    for key in needed:
        if key not in node and f"{section}.{key}" not in OPTIONAL:
            raise UsageError(f"the configuration lacks {section}.{key}")
    _require_shallow(section, node)
    return _checked(section, node, command)


def _require_known(prefix: str, node: Any, known: list[str]) -> None:
    if not isinstance(node, dict):
        raise UsageError("the configuration has no sections")
    for key in node:
        if f"{prefix}{key}" not in known:
            raise UsageError(f"there is no setting {prefix}{key}{nearest(f'{prefix}{key}', known)}")


def _require_shallow(path: str, node: Any, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise UsageError(f"{path} has more than {DEEPEST} sections within sections")
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for part in parts:
        _require_shallow(path, part, depth + 1)

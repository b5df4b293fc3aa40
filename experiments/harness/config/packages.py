"""What a configuration may name: our public parts, Keras' optimizers, and packages that the user trusts.

Trust comes from the command line and the environment, never from a file or a stored run: whoever gets a run from
a stranger, or a folder of configuration, runs no code that they have not named themselves.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
from omegaconf import OmegaConf

import metalearn as ml

from ..errors import UsageError, nearest
from ..runs import code
from . import kinds

VARIABLE = "METALEARN_PACKAGES"
"""The environment variable with names of trusted packages, separated by commas."""

PACKAGES = {
    "metalearn.models": ml.models,
    "metalearn.rules": ml.rules,
    "metalearn.estimators": ml.estimators,
    "metalearn.heads": ml.heads,
    "metalearn.step_weights": ml.step_weights,
    "metalearn.tasks": ml.tasks,
    "keras.optimizers": keras.optimizers,
    "keras.optimizers.schedules": keras.optimizers.schedules,
}
"""What a configuration may name without the user's word for it."""

KERAS_CLASSES = (keras.optimizers.Optimizer, keras.optimizers.schedules.LearningRateSchedule)

NOT_THEIRS = {
    "metalearn",
    "experiments",
    "hydra_plugins",
    __name__.partition(".")[0],
    *sys.stdlib_module_names,
}
"""Packages that nobody is asked to trust, and nobody can: ours, and Python's, which run anything."""

LIBRARIES = {"tensorflow", "keras", "numpy", "hydra", "omegaconf", "wandb", "matplotlib", "pydantic", "yaml"}
"""Packages that are not suggested, for they load and call what files say."""


def trusted(value: Any) -> list[str]:
    """Return the packages that the user trusts, by the setting ``packages`` and by the environment.

    Args:
        value: of the setting: a name, or a list of names.

    Raises:
        UsageError: if it is no list of names, or a package cannot be trusted.
    """
    value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    found: list[str] = []
    for path, names in (("packages", value), (VARIABLE, os.environ.get(VARIABLE) or [])):
        try:
            taken = kinds.PACKAGES.take(path, names)
        except ValueError as error:
            raise UsageError(str(error)) from error
        for name in taken:
            if name.partition(".")[0] in NOT_THEIRS:
                raise UsageError(
                    f"{path}={name} cannot be trusted: it is a package of Python's or of ours. Name the package "
                    "that your own functions and classes are in"
                )
        found += taken
    return list(dict.fromkeys(found))


def require(config: Any, packages: Sequence[str]) -> None:
    """Raise UsageError if a configuration names packages that are not trusted and may be the user's own."""
    missing: dict[str, str] = {}
    for path, target in code.named(config):
        package = target.partition(".")[0]
        theirs = "." in target and package.isidentifier() and package not in NOT_THEIRS | LIBRARIES
        if theirs and code.covering(target, packages) is None:
            missing.setdefault(package, f"{path}={target}")
    if missing:
        which = f"package{'s' * (len(missing) > 1)} {', '.join(missing)}"
        names = ",".join([*packages, *missing])
        raise UsageError(
            f"{next(iter(missing.values()))} is not allowed: the configuration names code of the {which}, which "
            f"you have not said to trust. Where it is yours, packages=[{names}] or the environment variable "
            f"{VARIABLE}={names} lets it be run"
        )


def find(target: Any, path: str, packages: Sequence[str]) -> Callable[..., Any]:
    """Return the function or class that a configuration names.

    Args:
        target: its dotted name.
        path: of the setting that has it, for errors.
        packages: that are trusted beside ours: what they define, by public names; not what they import.

    Raises:
        UsageError: if it is not allowed, is not there, or its package cannot be imported.
    """
    package, _, name = str(target).rpartition(".")
    module = PACKAGES.get(package)
    found = getattr(module, name, None) if module and not name.startswith("_") else None
    ours = package.startswith("metalearn.") and name in getattr(module, "__all__", [])
    if (ours and (inspect.isfunction(found) or inspect.isclass(found))) or (
        inspect.isclass(found) and issubclass(found, KERAS_CLASSES)
    ):
        return found
    if code.covering(str(target), packages) is None:
        theirs = f", or of packages that you trust, packages=[{','.join(packages) or '<yours>'}]"
        raise UsageError(
            f"{path}={target} is not allowed: name a public function or class of {', '.join(PACKAGES)}{theirs}"
        )
    return _of_theirs(str(target), path, packages)


def _of_theirs(target: str, path: str, packages: Sequence[str]) -> Callable[..., Any]:
    trusted_name = code.covering(target, packages) or ""
    module_name, _, name = target.rpartition(".")
    if any(part.startswith("_") for part in target.removeprefix(trusted_name).split(".")):
        raise UsageError(
            f"{path}={target} is not allowed: it is private. Name something public of {trusted_name}"
        )
    module = _imported(module_name, f"{path}={target}")
    found = getattr(module, name, None)
    if found is None:
        known = [each for each in vars(module) if not each.startswith("_")]
        place = getattr(module, "__file__", None) or module_name
        raise UsageError(f"{path}={target}: there is no {name} in {place}{nearest(name, known)}")
    plain = inspect.unwrap(found) if callable(found) else found
    if not (inspect.isfunction(plain) or inspect.isclass(plain)):
        raise UsageError(
            f"{path}={target} is not allowed: it is no function or class, but a {type(found).__name__}"
        )
    if code.covering(f"{plain.__module__}.{name}", packages) is None:
        raise UsageError(
            f"{path}={target} is not allowed: it is defined in {plain.__module__}, and of {trusted_name} only "
            "its own functions and classes are trusted. Write one that calls it"
        )
    return found


def _imported(name: str, what: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"{what}: there is no module {error.name}, neither in {Path.cwd()} nor among what is installed. "
                "Run the command in the folder that the package is in, or install it"
            ) from error
        raise _broken(name, what, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, what, error) from error


def _broken(name: str, what: str, error: BaseException) -> UsageError:
    """Return the error that names the line of theirs that failed, and how."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = "" if isinstance(error, SyntaxError) else f" ({last.filename}, line {last.lineno})"
    return UsageError(f"{what}: {name} cannot be imported: {type(error).__name__}: {error}{place}")

"""The names that a configuration may use: public objects of this package, Keras, and trusted packages."""

from __future__ import annotations

import importlib
import inspect
import traceback
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

import metalearn as ml

from ... import data
from ..errors import UsageError, nearest
from ..runs.code import covering

PACKAGES = {
    "metalearn.attacks": ml.attacks,
    "metalearn.compress": ml.compress,
    "metalearn.models": ml.models,
    "metalearn.rules": ml.rules,
    "metalearn.estimators": ml.estimators,
    "metalearn.heads": ml.heads,
    "metalearn.problems": ml.problems,
    "metalearn.step_weights": ml.step_weights,
    "metalearn.tasks": ml.tasks,
    "metalearn.tasks.environments": ml.tasks.environments,
    "experiments.data": data,
    "keras.optimizers": keras.optimizers,
    "keras.optimizers.schedules": keras.optimizers.schedules,
}
"""Packages that a configuration may name without trust from the user."""

KERAS_CLASSES = (keras.optimizers.Optimizer, keras.optimizers.schedules.LearningRateSchedule)


def find(target: Any, path: str, packages: Sequence[str]) -> Callable[..., Any]:
    """Return the function or class that a configuration names.

    Args:
        target: its dotted name.
        path: of the setting that has it, for errors.
        packages: trusted in addition to this one: the public names that they define, not those they import.

    Raises:
        UsageError: if it is not allowed, is not there, or its package cannot be imported.
    """
    package, _, name = str(target).rpartition(".")
    module = PACKAGES.get(package)
    found = getattr(module, name, None) if module and not name.startswith("_") else None
    ours = not package.startswith("keras.") and name in getattr(module, "__all__", [])
    if (ours and (inspect.isfunction(found) or inspect.isclass(found))) or (
        inspect.isclass(found) and issubclass(found, KERAS_CLASSES)
    ):
        return found
    if covering(str(target), packages) is None:
        raise UsageError(
            f"{path}={target} is not allowed: name a public function or class of {', '.join(PACKAGES)}, or "
            f"of packages that you trust, packages=[{','.join(packages) or '<yours>'}]"
        )
    return _of_theirs(str(target), path, packages)


def _of_theirs(target: str, path: str, packages: Sequence[str]) -> Callable[..., Any]:
    trusted_name = covering(target, packages) or ""
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
            f"{path}={target} is not allowed: it is not a function or class, but a {type(found).__name__}"
        )
    if covering(f"{plain.__module__}.{name}", packages) is None:
        raise UsageError(
            f"{path}={target} is not allowed: it is defined in {plain.__module__}, and of {trusted_name} "
            "only its own functions and classes are trusted. Write one there that calls it"
        )
    return found


def _imported(name: str, what: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"{what}: there is no module {error.name}, neither in {Path.cwd()} nor among the installed "
                "packages. Run the command in the folder that contains the package, or install it"
            ) from error
        raise _broken(name, what, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, what, error) from error


def _broken(name: str, what: str, error: BaseException) -> UsageError:
    """Return the error that names the line of the user's code that failed, and the reason."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = "" if isinstance(error, SyntaxError) else f" ({last.filename}, line {last.lineno})"
    return UsageError(f"{what}: {name} cannot be imported: {type(error).__name__}: {error}{place}")

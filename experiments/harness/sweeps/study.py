"""The storage of a search: a study of Optuna in the sweep's folder, readable by Optuna's own tools."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from sqlalchemy.pool import NullPool

from ..errors import UsageError, nearest

FILE = "study.db"


def address(place: Path) -> str:
    """Return the address of the study's storage for Optuna."""
    return f"sqlite:///{(place / FILE).resolve()}"


def stored(place: Path) -> optuna.storages.RDBStorage:
    """Return the study's storage, which closes its file between calls."""
    return optuna.storages.RDBStorage(address(place), engine_kwargs={"poolclass": NullPool})


def open_study(place: Path, pruner: Mapping[str, Any]) -> optuna.Study:
    """Return the study of a sweep's folder, new or with all its trials.

    Raises:
        UsageError: if the pruner cannot be built, or the file cannot be read.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    chosen = build(optuna.pruners, pruner, "hydra.sweeper.pruner")
    try:  # with SQLite, which undoes incomplete writes of killed processes
        return optuna.create_study(
            storage=stored(place),
            study_name=place.name,
            direction="minimize",
            load_if_exists=True,
            pruner=chosen,
        )
    except Exception as error:  # SQLAlchemy has dozens
        reason = str(error).splitlines()[0]
        raise UsageError(f"{place / FILE} cannot be used as Optuna's storage: {reason}") from error


def build(module: Any, settings: Mapping[str, Any], path: str, **more: Any) -> Any:
    """Return the object of Optuna that ``settings["name"]`` names, constructed with the other settings.

    Args:
        module: the module of Optuna that has to contain it.
        settings: name and arguments.
        path: the path of the settings, for errors.
        more: arguments that are passed if it accepts them.

    Raises:
        UsageError: if there is none of this name, or it does not accept a setting.
    """
    arguments = dict(settings)
    name = str(arguments.pop("name", None))
    known = [each for each in module.__all__ if inspect.isclass(getattr(module, each))]
    if name not in known:
        raise UsageError(f"{path}.name={name} is not known{nearest(name, known)}")
    found = getattr(module, name)
    taken = inspect.signature(found).parameters
    try:
        return found(**{key: value for key, value in more.items() if key in taken}, **arguments)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: {error}") from error


def trial_reporter(place: Path, number: int, pruner: Mapping[str, Any]) -> Callable[[int, float], bool]:
    """Return a function that reports a trial's validation losses to the study; it returns whether to stop."""
    study = open_study(place, pruner)
    trial = optuna.trial.Trial(study, study.trials[number]._trial_id)

    def report(iteration: int, loss: float) -> bool:
        known = study.trials[number].intermediate_values
        if iteration not in known:  # a resumed run has reported some of them before
            trial.report(loss if np.isfinite(loss) else np.inf, iteration)
        return trial.should_prune()

    return report

"""Hydra's entry point to the sweepers: it accepts plugins only from packages of this name.

Every command of ours imports this file, so it imports nothing large until there is a sweep. What it imports
is of the package that the command is of: ``experiments`` or, installed, ``metalearn_experiments``.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class _FromHydra(Sweeper):
    """The part that both sweepers share."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Record the name of the application's package, and the environment of the sweep."""
        application: Any = task_function
        self._harness = type(application).__module__.partition(".app.")[0]
        make = functools.partial(
            Plugins.instance().instantiate_launcher, hydra_context=hydra_context, task_function=task_function
        )
        launcher = make(config=config)
        application.began = True
        self._module("app.quiet").import_tensorflow()
        setting = self._module("sweeps.setting").Setting
        self._setting = setting(hydra_context.config_loader, make, launcher, config, application.codes)

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self._harness}.{name}")


class GridSweeper(_FromHydra):
    """Every combination of the given values: ``hydra/sweeper=grid``."""

    def __init__(self, params: Mapping[str, Any] | None) -> None:
        self._params = dict(params or {})

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs; the exit code goes to the application."""
        self._module("sweeps.grid").sweep(self._setting, self._params, arguments)


class OptunaSweeper(_FromHydra):
    """Combinations chosen by a sampler of Optuna: ``hydra/sweeper=optuna``."""

    def __init__(self, params: Mapping[str, Any] | None, **settings: Any) -> None:
        self._params, self._settings = dict(params or {}), settings

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials; the exit code goes to the application."""
        self._module("sweeps.search").sweep(self._setting, self._params, arguments, self._settings)

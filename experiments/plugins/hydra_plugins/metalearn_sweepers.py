"""Hydra's door to our sweepers: it accepts plugins from packages of this name alone.

Every command of ours imports this file, so it imports nothing large until there is a sweep. What it imports
is of the package that the command is of: ``experiments`` or, installed, ``metalearn_experiments``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(Sweeper):
    """Every combination of the values given: ``hydra/sweeper=grid``."""

    def __init__(self, params: Mapping[str, Any] | None) -> None:
        self._params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands to every sweeper."""
        self._harness, self._setting = _setting(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs; the exit code goes to the application."""
        importlib.import_module(f"{self._harness}.sweeps.grid").sweep(self._setting, self._params, arguments)


class OptunaSweeper(Sweeper):
    """Combinations that a sampler of Optuna chooses: ``hydra/sweeper=optuna``."""

    def __init__(self, params: Mapping[str, Any] | None, **settings: Any) -> None:
        self._params, self._settings = dict(params or {}), settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands to every sweeper."""
        self._harness, self._setting = _setting(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials; the exit code goes to the application."""
        search = importlib.import_module(f"{self._harness}.sweeps.search")
        search.sweep(self._setting, self._params, arguments, self._settings)


def _setting(context: HydraContext, task: Any, config: DictConfig) -> tuple[str, Any]:
    """Return the name of the package that the application ``task`` is of, and what the sweep is made in."""
    harness = type(task).__module__.partition(".app.")[0]
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=task, config=config
    )
    task.began = True
    importlib.import_module(f"{harness}.app.quiet").import_tensorflow()
    setting = importlib.import_module(f"{harness}.sweeps.setting")
    return harness, setting.Setting(context.config_loader, launcher, config, task.codes)

"""Hydra's door to our sweepers: it accepts plugins from packages of this name alone.

Every command of ours imports this file, so it imports nothing large until there is a sweep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from experiments.harness.app.quiet import import_tensorflow

if TYPE_CHECKING:
    from experiments.harness.sweeps.setting import Setting


class GridSweeper(Sweeper):
    """Every combination of the values given: ``hydra/sweeper=grid``."""

    def __init__(self, params: Mapping[str, Any] | None) -> None:
        self._params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands to every sweeper."""
        self._setting = _setting(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs; the exit code goes to the application."""
        from experiments.harness.sweeps.grid import sweep

        sweep(self._setting, self._params, arguments)


class OptunaSweeper(Sweeper):
    """Combinations that a sampler of Optuna chooses: ``hydra/sweeper=optuna``."""

    def __init__(self, params: Mapping[str, Any] | None, **settings: Any) -> None:
        self._params, self._settings = dict(params or {}), settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands to every sweeper."""
        self._setting = _setting(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials; the exit code goes to the application."""
        from experiments.harness.sweeps.search import sweep

        sweep(self._setting, self._params, arguments, self._settings)


def _setting(context: HydraContext, task: Any, config: DictConfig) -> Setting:
    import_tensorflow()
    from experiments.harness.sweeps.setting import Setting

    task.began = True
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=task, config=config
    )
    return Setting(context.config_loader, launcher, config, task.codes)

"""What Hydra hands to a sweeper, and what is asked of it: which jobs there are, and where their runs are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, open_dict, read_write

from experiments.harness import rundir
from experiments.harness.cli import UsageError
from experiments.harness.rundir import RunDirectory
from experiments.harness.settings import resolve


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        name: what varies, ``algorithm=maml,seed=0``.
        overrides: that Hydra composes its configuration from.
        run: where it is kept.
        trial: its number in a search.
    """

    name: str
    overrides: tuple[str, ...]
    run: RunDirectory
    trial: int | None = None


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a sweep is made in.

    Attributes:
        loader: composes configurations.
        launcher: runs jobs, in this process or in others.
        config: of the sweep, with Hydra's part.
        codes: takes the sweep's exit code.
    """

    loader: ConfigLoader
    launcher: Launcher
    config: DictConfig
    codes: list[int]

    @property
    def place(self) -> Path:
        """The sweep's folder."""
        return Path(str(self.config.hydra.sweep.dir))

    @property
    def one_by_one(self) -> bool:
        """Whether jobs run in this process, one after the other."""
        return str(self.config.hydra.runtime.choices["hydra/launcher"]) == "basic"

    def parse(self, params: Mapping[str, object], arguments: Sequence[str]) -> list[Override]:
        """Return the overrides of a preset and of the command line, which replace those of the same key."""
        lines = [*(f"{key}={value}" for key, value in params.items()), *arguments]
        parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(lines)
        return list({override.get_key_element(): override for override in parsed}.values())

    def job(self, name: str, overrides: Sequence[str], trial: int | None = None) -> Job:
        """Return the job of some overrides.

        Raises:
            UsageError: if its configuration cannot be.
        """
        try:
            return Job(name, tuple(overrides), self._locate(list(overrides)), trial)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error

    def _locate(self, overrides: list[str]) -> RunDirectory:
        config = self.loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = 0
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)
        try:
            with read_write(config), open_dict(config):
                del config["hydra"]
            return rundir.locate(resolve(config))
        finally:
            HydraConfig.instance().cfg = before

"""The interface of sweepers to Hydra: the jobs of a sweep, and the folders of their runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from ..config.preparation import prepare
from ..config.schema import resolve
from ..errors import UsageError
from ..runs import identity, rundir
from ..runs.files import require_plain_folder
from ..runs.lock import locked
from ..runs.rundir import RunDirectory
from ..session import workers
from .launchers import make_room

ALIKE = ("name", "label", "seed", "tracking", "diagnostics", "run", "paths")
"""Settings from which no object is built, or that cannot make an object invalid."""


def count(values: RangeSweep) -> int:
    """Return the number of values in a range, without iterating over it.

    Raises:
        ValueError: if it is empty or infinite.
    """
    try:
        first, stop, step = map(Fraction, (values.start, values.stop, values.step))  # type: ignore[arg-type]
        number = math.ceil((stop - first) / step)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError("it has no end") from error
    if number < 1:
        raise ValueError("it is empty")
    return number


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        name: the varied settings, ``algorithm=maml,seed=0``.
        overrides: the overrides of its configuration.
        run: the folder of its run.
        trial: its number in a search.
        afterwards: the settings of its evaluation; None if they are not known.
        workers: the number of processes that share it.
    """

    name: str
    overrides: tuple[str, ...]
    run: RunDirectory
    trial: int | None = None
    afterwards: Mapping[str, object] | None = dataclasses.field(default=None, compare=False)
    workers: int = dataclasses.field(default=1, compare=False)


@dataclasses.dataclass(frozen=True)
class Setting:
    """The environment of a sweep.

    Attributes:
        loader: composes configurations.
        make_launcher: makes the launcher of ``config``.
        launcher: runs jobs, in this process or in others.
        config: the configuration of the sweep, with Hydra's part.
        codes: receives the sweep's exit code.
        checked: the digests of configurations whose objects have been built.
    """

    loader: ConfigLoader
    make_launcher: Callable[..., Launcher]
    launcher: Launcher
    config: DictConfig
    codes: list[int]
    checked: set[str] = dataclasses.field(default_factory=set)

    @property
    def place(self) -> Path:
        """The sweep's folder."""
        return Path(str(self.config.hydra.sweep.dir))

    def parse(self, params: Mapping[str, object], arguments: Sequence[str]) -> list[Override]:
        """Return the overrides of a preset and of the command line, which replace those with the same key."""
        lines = [*(f"{key}={value}" for key, value in params.items()), *arguments]
        parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(lines)
        return list({override.get_key_element(): override for override in parsed}.values())

    def with_room(self, workers: Collection[int]) -> Setting:
        """Return this with a launcher that requests what jobs with these numbers of workers need.

        Raises:
            UsageError: if its settings request less.
        """
        config = self.config.copy()
        with open_dict(config), read_write(config):
            make_room(config.hydra.launcher, workers)
        return dataclasses.replace(self, config=config, launcher=self.make_launcher(config=config))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the sweep's folder, which is created, against a second start of the same sweep.

        Raises:
            UsageError: if it is being run, or the folder cannot be written to.
        """
        with rundir.writing(self.place):
            require_plain_folder(self.place)
        with locked(self.place, "end that process: this sweep is being run by it"):
            yield

    def job(self, name: str, overrides: Sequence[str], trial: int | None = None, done: bool = False) -> Job:
        """Return the job of some overrides, after building all of its objects unless it is ``done``.

        Raises:
            UsageError: if its configuration is invalid.
        """
        try:
            config = self._compose(list(overrides))
            if not done:
                self._check(config)
            run, afterwards = rundir.locate(config), identity.afterwards(config)
            return Job(name, tuple(overrides), run, trial, afterwards, workers.count(config))
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error

    def _check(self, config: dict[str, Any]) -> None:
        """Build the objects of a configuration, once for all jobs with equal objects."""
        apart = {key: value for key, value in config.items() if key not in ALIKE}
        digest = identity.digest(apart)
        if digest not in self.checked:
            prepare(config)
            self.checked.add(digest)

    def _compose(self, overrides: list[str]) -> dict[str, Any]:
        try:
            config = self.loader.load_sweep_config(self.config, overrides)
        except (UsageError, HydraException, OmegaConfBaseException):
            raise
        except Exception as error:  # of any type, for malformed words and files
            raise UsageError(f"no configuration can be composed: {type(error).__name__} {error}") from error
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = 0
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)
        try:
            with read_write(config), open_dict(config):
                del config["hydra"]
            return resolve(config)
        finally:
            HydraConfig.instance().cfg = before

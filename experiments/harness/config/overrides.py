"""A run's stored configuration with settings of its evaluation changed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ..errors import UsageError
from ..runs import rundir
from ..runs.rundir import Config, RunDirectory
from . import packages, schema
from .settings import TAKEN

CHANGEABLE = ("task", "evaluation")

APART = ("run", "packages")
"""Settings of the command itself."""


def changes(config: DictConfig, overrides: Sequence[str]) -> tuple[RunDirectory, Config]:
    """Return the run that ``config.run`` names, and its configuration with the overrides applied.

    Raises:
        UsageError: if there is no such run, or an override is of another section.
    """
    run = RunDirectory(Path(schema.take(TAKEN["evaluate"]["run"].kind, "run", config.run)))
    trusted = packages.trusted(config.packages)
    changed = OmegaConf.create(copy.deepcopy(rundir.read(run, trusted)[0]))
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group
        section, _, setting = key.partition(".")
        if section in APART:
            continue
        if section not in CHANGEABLE or not setting or override.is_delete() or override.is_sweep_override():
            raise UsageError(
                f"{override.input_line} cannot be changed when evaluating: "
                f"give values to settings of {' or '.join(CHANGEABLE)}, like task.shots=5"
            )
        OmegaConf.update(changed, key, override.value(), force_add=True)
    plain: Any = OmegaConf.to_container(changed)
    return run, plain

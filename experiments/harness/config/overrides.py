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
from ..runs.identity import Config
from ..runs.rundir import RunDirectory
from . import packages
from .settings import TAKEN

CHANGEABLE = ("task", "evaluation")

APART = ("run", "packages", "paths.data", "task")
"""Settings of the command itself, and those that select another task."""

PROTOCOL = ("ways", "shots", "queries")
"""Settings of the run's task that another task takes over, if it has them."""


def changes(config: DictConfig, overrides: Sequence[str]) -> tuple[RunDirectory, Config]:
    """Return the run that ``config.run`` names, and its configuration with the overrides applied.

    Raises:
        UsageError: if there is no such run, or an override is of another section.
    """
    run = RunDirectory(Path(TAKEN["evaluate"]["run"].kind.take("run", config.run)))
    trusted = packages.trusted(config.packages)
    changed = OmegaConf.create(copy.deepcopy(rundir.read(run, trusted)[0]))
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    chosen = {override.key_or_group for override in parsed}
    if "task" in chosen:
        changed.task = _other(config, changed.task)
    elif "paths.data" in chosen:
        raise UsageError(
            "paths.data contains another data set, chosen by task=<name>: name it, or give task.path=<path>"
        )
    for override in parsed:
        key = override.key_or_group
        section, _, setting = key.partition(".")
        if key in APART:
            continue
        if section not in CHANGEABLE or not setting or override.is_delete() or override.is_sweep_override():
            raise UsageError(
                f"{override.input_line} cannot be changed when evaluating: give values to settings of "
                f"{' or '.join(CHANGEABLE)}, like task.shots=5, or another task=<name>"
            )
        OmegaConf.update(changed, key, override.value(), force_add=True)
    plain: Any = OmegaConf.to_container(changed)
    return run, plain


def _other(config: DictConfig, trained: DictConfig) -> DictConfig:
    """Return the task composed from ``task=<name>``, with ways, shots and queries of the run's own task."""
    plain: Any = OmegaConf.to_container(config.task, resolve=True)
    kept = {name: trained[name] for name in PROTOCOL if name in plain and name in trained}
    return OmegaConf.create({**plain, **kept})

"""Trusted packages of the user: only code of these packages is run if a configuration names it.

Trust comes from the command line and the environment, never from a file or a stored run. So a run or a folder
of configuration from an untrusted source runs no code that the user has not named.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ..errors import UsageError
from ..runs import code
from . import kinds

VARIABLE = "METALEARN_PACKAGES"
"""The environment variable with names of trusted packages, separated by commas."""

NOT_THEIRS = {
    "metalearn",
    "experiments",
    "hydra_plugins",
    __name__.partition(".")[0],
    *sys.stdlib_module_names,
}
"""Packages that cannot be trusted as a user's: this project, and Python's own modules, which can run
anything."""

LIBRARIES = {"tensorflow", "keras", "numpy", "hydra", "omegaconf", "wandb", "matplotlib", "pydantic", "yaml"}
"""Packages that are not suggested, because they load and call whatever a file names."""


def trusted(value: Any) -> list[str]:
    """Return the packages that the user trusts, by the setting ``packages`` and by the environment.

    If there are any, packages are also imported from the current folder, but after all installed ones, so
    that none of these can be replaced.

    Args:
        value: the value of the setting: a name, or a list of names.

    Raises:
        UsageError: if it is not a list of names, or a package cannot be trusted.
    """
    value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    found: list[str] = []
    for path, names in (("packages", value), (VARIABLE, os.environ.get(VARIABLE) or [])):
        taken = kinds.PACKAGES.take(path, names)
        for name in taken:
            if name.partition(".")[0] in NOT_THEIRS:
                raise UsageError(
                    f"{path}={name} cannot be trusted: it belongs to Python or to this project. Name the "
                    "package with your own functions and classes"
                )
        found += taken
    folder = str(Path.cwd())
    if found and folder not in sys.path:
        sys.path.append(folder)
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
            f"{next(iter(missing.values()))} is not allowed: the configuration names code of the {which}, "
            f"which is not trusted. If it is yours, packages=[{names}] or {VARIABLE}={names} "
            "in the environment allows it"
        )

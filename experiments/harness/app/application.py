"""A Hydra application that answers bad input with one clear message and exit code 2."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import importlib
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from .. import console, invocation
from ..config import trust
from ..config.trust import CONFIGS
from ..errors import BAD_INPUT, FAILED, INTERRUPTED, UsageError, nearest
from ..invocation import HOUSE, IN_CHECKOUT
from . import help, suggestions

PLUGINS = HOUSE / "plugins"
"""The folder of our sweepers: Hydra only loads plugins from packages named ``hydra_plugins``."""

WITHOUT_EFFECT = ("hydra/launcher", "hydra.launcher", "hydra.sweeper.trials", "paths.", "tracking", "run.")
"""Beginnings of command-line arguments that do not change the identity of a sweep."""

FREE = {"evaluate": ("task.", "evaluation.", "paths.data=")}
"""Settings that a command takes from a stored run, and that its own configuration may lack."""

EXTRAS = {
    "hydra/launcher": {"joblib": "sweep", "ray": "ray", "submitit_local": "slurm", "submitit_slurm": "slurm"}
}
"""The extras that install options of Hydra's groups."""


OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""Errors of disks, which no change of the command line can avoid."""

OF_PATHS = (
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EPERM,
)
"""Errors of paths, which the command line has given."""

LONGEST_SHOWN = 1000
"""Largest number of characters of a command line in a message."""


class Outcome(NamedTuple):
    """The outcome of a task: its exit code, and the message if the code is not 0."""

    code: int
    message: str = ""


@dataclasses.dataclass
class Application:
    """A task as Hydra calls it: once, or once for every job of a sweep, in this process or in others.

    Attributes:
        task: returns an exit code.
        config_name: the name of the main configuration file.
        codes: the exit codes; a sweep has one, from its sweeper.
        jobs: the exit codes of the jobs of a sweep in this process, which count if its sweeper has none.
        began: whether the configuration has been composed; errors before that are invalid input.
    """

    task: Callable[[DictConfig], int]
    config_name: str
    codes: list[int] = dataclasses.field(default_factory=list)
    jobs: list[int] = dataclasses.field(default_factory=list)
    began: bool = False

    def __call__(self, config: DictConfig) -> Outcome:
        """Run the task; errors are printed, and do not end the other jobs of a sweep.

        Raises:
            KeyboardInterrupt: if a job was interrupted, which interrupts the sweep.
        """
        sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
        self.began = True
        try:
            outcome = self._attempt(config)
        except Exception as error:
            if not sweeping:
                raise
            traceback.print_exc()
            outcome = Outcome(FAILED, f"{type(error).__name__}: {error}")
        (self.jobs if sweeping else self.codes).append(outcome.code)
        if sweeping and outcome.code == INTERRUPTED:
            raise KeyboardInterrupt
        return outcome

    def _attempt(self, config: DictConfig) -> Outcome:
        try:
            return Outcome(self.task(config))
        except UsageError as error:
            return complain(str(error))
        except OmegaConfBaseException as error:
            return complain(_explain(error, self.config_name))
        except OSError as error:
            if error.errno not in (*OF_DISKS, *OF_PATHS):
                raise
            return _blame(error)
        except KeyboardInterrupt:
            console.say_error("interrupted")
            return Outcome(INTERRUPTED)


def run_application(task: Callable[[DictConfig], int], config_name: str) -> None:
    """Compose the configuration from the command line, run ``task`` on it and exit with its code.

    Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
    """
    # Hydra then raises its errors instead of printing them and exiting with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ[invocation.COMMAND] = shlex.join([*invocation.program(config_name), *sys.argv[1:]])
    console.accept_any_text()
    _find_plugins()
    application = Application(task, config_name)
    decorate = hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)
    sys.argv[1:] = _ordered(sys.argv[1:], FREE.get(config_name, ()))
    try:
        trust.guard()
        trust.require(sys.argv[1:])
        _require_values(sys.argv[1:])
        decorate(application)()
    except UsageError as error:
        application.codes.append(complain(str(error)).code)
    except (HydraException, OmegaConfBaseException) as error:
        application.codes.append(complain(_explain(error, config_name)).code)
    except BrokenPipeError:  # the reader of --help has closed the pipe
        if application.began:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if application.began:
            raise
        application.codes.append(_blame(error).code)
    except KeyboardInterrupt:  # while Hydra composes or the jobs of a sweep are built
        if not application.jobs:  # otherwise a job has said so
            console.say_error("interrupted")
        application.codes.append(INTERRUPTED)
    except Exception as error:
        # Hydra and OmegaConf raise errors of any type for malformed words and files.
        if application.began:
            raise
        application.codes.append(complain(_unreadable(error)).code)
    sys.exit(max(application.codes or application.jobs, default=0))


def _ordered(arguments: Sequence[str], free: tuple[str, ...]) -> list[str]:
    """Return a command line with options before settings, as Hydra's parser requires; ``free`` may be new."""
    settings = [word for word in arguments if "=" in word and not word.startswith("-")]
    others = [word for word in arguments if word not in settings]
    return [*others, *(f"++{word}" if word.startswith(free) else word for word in settings)]


def _require_values(arguments: Sequence[str]) -> None:
    """Raise UsageError where Hydra raises errors of any type: for a group with an invalid name of a file.

    The same for a sweep over packages, in which each job would trust another package.
    """
    words = [word for word in arguments if "=" in word and not word.startswith("-")]
    places = CONFIGS, *trust.added(arguments)
    for override in OverridesParser.create().parse_overrides(words):
        group, value = override.key_or_group, override.value()
        if group == "packages" and override.is_sweep_override():
            listed = f"packages=[{str(override.input_line).partition('=')[2]}]"
            raise UsageError(f"{override.input_line} is a sweep over packages: a list is written {listed}")
        folders = [place / group for place in places if (place / group).is_dir()]
        if override.is_delete() or override.is_sweep_override() or not folders:
            continue
        parts = value if isinstance(value, list) else [value]
        if not isinstance(value, dict) and not all(isinstance(part, str) and part for part in parts):
            names = [path.stem for folder in folders for path in folder.glob("*.yaml")]
            raise UsageError(
                f"{override.input_line} names no {group}{nearest('', names) or ': give the name of a file'}; "
                f"its settings are {group}.<setting>=<value>"
            )


def _sweep_id() -> str:
    """Return the name of the sweep that the command line requests, the same for the same sweep.

    It omits what does not affect results: the launcher, and the number of trials of a search.
    """
    given = sorted(word for word in sys.argv[1:] if "=" in word and not word.startswith(WITHOUT_EFFECT))
    preset = next((word.partition("=")[2] for word in given if word.startswith("sweep=")), "sweep")
    return f"{re.sub(r'[^A-Za-z0-9_]', '-', preset)}-{hashlib.sha256(repr(given).encode()).hexdigest()[:8]}"


# Here and not in a function: processes that a launcher starts resolve it, too, from the parent's cache.
OmegaConf.register_new_resolver("sweep_id", _sweep_id, use_cache=True, replace=True)
OmegaConf.register_new_resolver("help_page", help.page, replace=True)


def complain(message: str) -> Outcome:
    """Print the message about invalid input, and return it as the outcome."""
    console.say_error(message, "error:")
    return Outcome(BAD_INPUT, message)


def _blame(error: OSError) -> Outcome:
    """Print what is wrong with a file or its disk, and return that."""
    outcome = complain(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "))
    return outcome._replace(code=FAILED) if error.errno in OF_DISKS else outcome


def _find_plugins() -> None:
    """Let this process, and those that a launcher starts for it, find the plugins and packages."""
    plugins, root = str(PLUGINS), [str(HOUSE.parent)] if IN_CHECKOUT else []
    if plugins not in sys.path:
        sys.path.append(plugins)
    sweepers = importlib.import_module("hydra_plugins.metalearn_sweepers")
    for sweeper in (sweepers.GridSweeper, sweepers.OptunaSweeper):
        Plugins.instance().register(sweeper)  # which may have looked for plugins before
    # Where hydra-optuna-sweeper is installed, it has a page of the same name, and Hydra rejects both.
    ConfigStore.instance().repo.get("hydra", {}).get("sweeper", {}).pop("optuna.yaml", None)
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    missing = [path for path in (*root, plugins) if path not in known]
    os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, known), *missing])


def _explain(error: Exception, config_name: str) -> str:
    """Turn an error of Hydra or OmegaConf into the message that tells the user what to do."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigKeyError) or "is not in struct" in str(cause):
        key = str(getattr(cause, "full_key", None) or cause)
        return suggestions.no_setting(key, config_name)
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key}=... must be given"
    extra = re.search(r"Could not load '(hydra/launcher)/(\w+)'", str(error))
    if extra:  # a preset of ours, of a launcher that is not installed
        return _install(*extra.groups())
    missing = re.search(
        r"Could not find '([^']+)'(?:\s+Available options in '([^']+)':\s+(.*?))?\s+Config search",
        str(error),
        re.S,
    )
    if missing:
        path, group, available = missing.groups(default="")
        group = group or path.partition("/")[0]
        option = path.removeprefix(f"{group}/")
        if option in EXTRAS.get(group, {}):
            return _install(group, option)
        return suggestions.no_option(group, option, [*available.split(), *EXTRAS.get(group, {})])
    merging = re.match(r"Error merging override (.*)", str(error), re.S)
    if merging:
        return suggestions.no_merging(merging.group(1), config_name)
    valueless = re.match(r"Error parsing override '([\w./]+)'\nmissing EQUAL", str(error))
    if valueless:
        return suggestions.no_value(valueless.group(1))
    if isinstance(error, OverrideParseException) and not str(error).startswith("Error parsing"):
        return suggestions.no_parsing(error.override, str(error))
    return (str(error) or str(cause)).split("\nSee https", 1)[0]


def _unreadable(error: Exception) -> str:
    words = shlex.join(sys.argv[1:])
    shown = words if len(words) <= LONGEST_SHOWN else f"{words[:LONGEST_SHOWN]}..."
    reason = f"{type(error).__name__} {error}"
    return f"no configuration can be composed from {shown}: {reason}; --help lists the settings"


def _install(group: str, option: str) -> str:
    return f"there is no {group}={option} here: {invocation.installation(EXTRAS[group][option])}"

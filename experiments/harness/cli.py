"""A Hydra application that answers bad input with one clear message and exit code 2."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from rich.console import Console
from rich.markup import escape

CONFIGS = Path(__file__).resolve().parents[2] / "conf"

BAD_INPUT = 2

INTERRUPTED = 130


class UsageError(Exception):
    """Input that cannot be used; the message names the thing, the value and the remedy."""


def run_application(task: Callable[[DictConfig], int], config_name: str) -> None:
    """Compose the configuration from the command line, run ``task`` on it and exit with its code.

    Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
    """
    codes: list[int] = []

    def report(message: str, code: int) -> None:
        Console(stderr=True, highlight=False, soft_wrap=True).print(message)
        codes.append(code)

    def guarded(config: DictConfig) -> None:
        try:
            codes.append(task(config))
        except UsageError as error:
            report(f"[bold red]error:[/] {escape(str(error))}", BAD_INPUT)
        except OmegaConfBaseException as error:
            report(f"[bold red]error:[/] {escape(_explain(error, config_name))}", BAD_INPUT)
        except KeyboardInterrupt:
            report("interrupted", INTERRUPTED)

    # Hydra then raises its errors instead of printing them and exiting with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    application = hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)
    try:
        application(guarded)()
    except HydraException as error:
        report(f"[bold red]error:[/] {escape(_explain(error, config_name))}", BAD_INPUT)
    sys.exit(max(codes, default=0))


def nearest(word: str, choices: list[str]) -> str:
    """Return a hint ``" (did you mean x, y?)"``, or the choices themselves when nothing is near."""
    near = difflib.get_close_matches(word, choices, n=3, cutoff=0.6)
    if near:
        return f" (did you mean {', '.join(near)}?)"
    return f" (there is {', '.join(sorted(choices))})" if len(choices) <= 20 else ""


def _explain(error: Exception, config_name: str) -> str:
    """Turn an error of Hydra or OmegaConf into what the user should do."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigKeyError) or "is not in struct" in str(cause):
        key = str(getattr(cause, "full_key", None) or cause)
        return f"there is no setting {key}{nearest(key, _known_keys(config_name))}"
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key}=... must be given"
    missing = re.search(
        r"Could not find '([^']+)'\s+Available options in '([^']+)':\s+(.*?)\nConfig search", str(error), re.S
    )
    if missing:
        path, group, available = missing.groups()
        option = path.removeprefix(f"{group}/")
        return f"there is no {group}={option}{nearest(option, available.split())}"
    return str(error).split("\nSee https", 1)[0]


def _known_keys(config_name: str) -> list[str]:
    """Return every key of the default configuration and every group, for suggestions."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose(config_name)
    groups = [str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*") if path.is_dir()]
    return [*_keys(OmegaConf.to_container(config), ""), *groups]


def _keys(node: object, prefix: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")

"""The output of ``--help``: the purpose of a command, its groups and settings, and examples."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf

from .. import invocation
from ..cache import compiled
from ..config import kinds, schema
from ..config.settings import TAKEN

WIDTH, COLUMN = 80, 32

WHOLE = ("setting", "algorithm", "experiment")
"""Groups whose options are settings of many sections."""

OF_SWEEPS = ("hydra/sweeper", "hydra/launcher")

STORED = {"evaluate": ("task", "evaluation")}
"""Sections whose values a command takes from the run, unless the command line sets them."""

SHORT = {
    kinds.OBJECT.text: "an object",
    kinds.TEXT.text: "text",
    f" to {kinds.LARGEST}": "",
    "a finite number": "a number",
    "a pair of numbers [low, high]": "[low, high]",
    ", or null for none": ", or null",
}
"""Descriptions of kinds in messages, and their short forms in the table."""


def page(_root_: DictConfig) -> str:
    """Return the help of the command whose configuration has been composed, as a template for Hydra."""
    command, texts = str(_root_.hydra.job.config_name), _root_.hydra.help
    program = " ".join(invocation.program(command))
    groups = list(_groups(command, _root_.hydra.runtime.choices))
    usage = f"usage: {program}{' [group=option]' * bool(groups)} [setting=value]"
    chosen = ["", "Groups, the option that is chosen, and all options:", "", *groups] if groups else []
    lines = [str(texts.header), "", usage, *chosen]
    lines += ["", "Settings and their default values:", *_settings(command, _root_)]
    lines += ["", "Examples:", *_examples(program, str(texts.footer))]
    lines += ["", "In the environment:", *(f"  {line}" for line in compiled.HELP)]
    lines += ["", "Hydra's own options, such as --multirun and --config-dir: --hydra-help"]
    return "\n".join(lines).replace("$", "$$")


def options(group: str, loader: ConfigLoader | None = None) -> list[str]:
    """Return the names of the options of a group, including those in folders below it."""
    loader = loader or GlobalHydra.instance().config_loader()
    below = loader.get_group_options(group, ObjectType.GROUP)
    return [
        *loader.get_group_options(group, ObjectType.CONFIG),
        *(f"{name}/{option}" for name in below for option in options(f"{group}/{name}", loader)),
    ]


def _groups(command: str, choices: DictConfig) -> Iterator[str]:
    """Yield the lines of the groups of a command that have more than one option."""
    own = [str(group) for group in choices if not str(group).startswith("hydra/")]
    sections = {path.partition(".")[0] for path in TAKEN[command]} - {*STORED.get(command, ())}
    if command != "train":
        own = [group for group in own if group in sections or (group in WHOLE and "learner" in sections)]
    for group in (*reversed(own), *(OF_SWEEPS if command == "train" else ())):
        found = options(group)
        if len(found) > 1 or (found and choices[group] is None):
            yield from _columns(f"{group}={_typed(choices[group])}", ", ".join(found))


def _settings(command: str, root: DictConfig) -> Iterator[str]:
    """Yield the lines of the settings, section by section, those of objects to be built first."""
    own = OmegaConf.masked_copy(root, [str(key) for key in root if key != "hydra"])
    plain: Any = OmegaConf.to_container(own, resolve=True)
    order = list(dict.fromkeys(["", *schema.OBJECTS, *map(_section, TAKEN[command])]))
    found = sorted(schema.describe(plain, command), key=lambda each: order.index(_section(each.path)))
    for section, settings in groupby(found, lambda each: _section(each.path)):
        stored = section in STORED.get(command, ())
        target = plain[section].get("_target_") if section else None
        title = f"{section}, as in the run:" if stored else f"{section}, of {target}:" if target else ""
        yield from ("", f"  {title}") if title else ("",)
        for each in settings:
            value = "" if stored else f"={_typed(each.default)}"
            kind = each.kind
            for text, short in SHORT.items():
                kind = kind.replace(text, short)
            yield from _columns(f"{each.path}{value}", f"{each.help} ({kind})")


def _section(path: str) -> str:
    section, dot, _ = path.partition(".")
    return section if dot else ""


def _columns(left: str, right: str) -> list[str]:
    """Return lines with a name at the left and its description beside it, or below a long name."""
    blank = " " * COLUMN
    lines = textwrap.wrap(right, WIDTH, initial_indent=blank, subsequent_indent=blank, break_on_hyphens=False)
    if len(left) > COLUMN - 4:
        return [f"  {left}", *lines]
    return [f"  {left}".ljust(COLUMN) + lines[0][COLUMN:], *lines[1:]]


def _examples(program: str, footer: str) -> Iterator[str]:
    """Yield commands and their descriptions, from lines ``arguments # description``."""
    for line in footer.splitlines():
        arguments, _, purpose = line.partition("# ")
        yield from (f"  {program} {arguments}".rstrip(), f"      {purpose}")


def _typed(value: Any) -> str:
    """Return a value as it is typed on the command line; an object is shown by its name."""
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    if isinstance(value, dict):
        return str(value["_target_"])
    return "..." if value == "???" else value if isinstance(value, str) else kinds.shown(value)

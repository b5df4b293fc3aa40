"""Suggestions for a setting or an option that does not exist."""

from __future__ import annotations

import functools
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from ..config.schema import CHANGES, OBJECTS, declared, leaves
from ..config.settings import TAKEN
from ..config.trust import CONFIGS
from ..errors import nearest

ADDED = ("task.", "optimizer.", *(f"{section}.{name}." for section, name in CHANGES))
"""Beginnings of settings that a constructor may accept, and that no option of a group has."""

GROUPS = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*") if path.is_dir())

SETTING = re.compile(r"[+~]{0,2}[\w.@/:-]+")

LEXER = "LexerNoViableAltException: "
"""What Hydra writes before a word with a character that needs quotes; below, a mark shows the character."""


def no_setting(key: str, command: str) -> str:
    """Return the message for a setting that the configuration of a command lacks."""
    typed = (word.partition("=")[0].lstrip("+~") for word in sys.argv[1:])
    path = next((word for word in typed if word.startswith(f"{key}.")), key)
    config = _composed(command)
    group, _, name = path.partition(".")
    having = _options_with(group, name)
    if having and group in config:
        chosen = f"{group}={config.hydra.runtime.choices[group]}"
        return f"there is no setting {path}: {chosen} does not have it, but {group}={having[0]} does"
    place, _, inner = path.rpartition(".")
    if place and not OmegaConf.is_config(OmegaConf.select(config, place, default=config)):
        wanted = f"{place}={{_target_: ..., {inner}: ...}}"
        return f"there is no setting {path}: {place} is a plain value here; write {wanted}"
    return f"there is no setting {path}{nearest(path, list(_known(config, command, path)))}"


def no_option(group: str, option: str, available: Sequence[str]) -> str:
    """Return the message for an option that a group lacks; ``available`` are some of its options."""
    files = (CONFIGS / group).rglob("*.yaml")
    known = [*available, *(path.relative_to(CONFIGS / group).with_suffix("").as_posix() for path in files)]
    others = [each for each in GROUPS if each != group and (CONFIGS / each / f"{option}.yaml").is_file()]
    hint = nearest(option, list(dict.fromkeys(known)))
    return f"there is no {group}={option}{hint}{f', but {others[0]}={option}' if others else ''}"


def no_value(word: str) -> str:
    """Return the message for a command-line argument that is not a ``setting=value``."""
    groups = [group for group in GROUPS if (CONFIGS / group / f"{word}.yaml").is_file()]
    if groups:
        return f"{word} is not a setting: did you mean {groups[0]}={word}?"
    return f"{word} has no value: write {word}=<value>"


def no_parsing(word: str, reason: str) -> str:
    """Return the message for a command-line argument that is not in Hydra's syntax; ``reason`` is Hydra's."""
    path, equals, value = word.partition("=")
    if not equals or not SETTING.fullmatch(path):
        return f"{word!r} is not of the form <setting>=<value>"
    mark = re.search(r"^ *\^$", reason, re.MULTILINE)
    place = f"at {word[len(mark.group()) - 1 - len(LEXER) :]!r}" if mark else reason.partition("\n")[0]
    value = value.replace('"', r"\"")
    quoted = shlex.quote(f'{path}="{value}"')
    return f"{word} cannot be parsed ({place}): put text in quotes, {quoted}"


def no_merging(word: str, command: str) -> str:
    """Return the message for a ``setting=value`` whose structure differs from that of the default."""
    path, _, value = word.lstrip("+~").partition("=")
    setting = declared(path, command)
    return (
        f"{path}={value} must be {setting.kind.text}"
        if setting
        else f"{word} is invalid: its structure differs from that of the default"
    )


def _composed(command: str) -> DictConfig:
    """Return a command's configuration with the options of the command line, if these exist."""
    chosen = [word for word in sys.argv[1:] if word.partition("=")[0] in GROUPS and "," not in word]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        try:
            return hydra.compose(command, chosen, return_hydra_config=True)
        except HydraException:
            return hydra.compose(command, return_hydra_config=True)


def _known(config: DictConfig, command: str, path: str) -> Iterator[str]:
    """Yield existing settings, groups, and settings that may be added, with the + that adds them."""
    plain: Any = OmegaConf.to_container(config)
    hydra_s = plain.pop("hydra")
    if path.startswith("hydra"):
        yield from (each for each, _ in leaves(hydra_s, "hydra."))
    composed = [each for each, _ in leaves(plain)]
    yield from (*composed, *plain, *GROUPS)
    possible = [each for each in TAKEN[command] if each.partition(".")[0] in plain]
    changes = [(section, f"{name}.") for section, name in CHANGES if section in plain]
    possible += [f"{section}.{each}" for section, of in changes for each in possible if each.startswith(of)]
    for each in dict.fromkeys(possible):
        if each not in composed and _options_with(*each.partition(".")[::2]):
            yield each
        elif each not in composed and each.startswith(ADDED):
            yield f"+{each}"


def _options_with(group: str, name: str) -> list[str]:
    """Return the options of a group of objects that have a given setting."""
    return [option for option, page in _pages(group).items() if name in page] if group in OBJECTS else []


@functools.cache
def _pages(group: str) -> dict[str, Any]:
    return {path.stem: OmegaConf.load(path) for path in sorted((CONFIGS / group).glob("*.yaml"))}

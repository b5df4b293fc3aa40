"""What files of configuration may do: hold settings, and name what is built; Hydra's own are not theirs.

Hydra calls what its own settings name (launchers, sweepers, callbacks, logging) before a task of ours starts.
They come from our files and the command line alone: files that a user adds to ``conf/`` or that
``--config-dir`` finds are read here first, and the command is refused for the first that would do more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..errors import UsageError
from ..runs.files import MIB, read_bytes

LARGEST = MIB
"""Bytes of a file."""

MOST = 10_000
"""Files below a folder."""

OURS = ("hydra",)
"""Folders below ours whose files may hold Hydra's settings; files beside them may, too."""

PRESETS = "sweep"
"""Folder of files that may give the sweeper values, and nothing else of Hydra's."""

NOT_TAKEN = {
    "--config-path": "-cp",
    "--config-name": "-cn",
    "--experimental-rerun": "--experimental-rerun",
}
"""Arguments of Hydra that replace the main configuration, or unpickle one; and their short forms."""

SUSPICIOUS = re.compile(r"hydra|packages|\\|\$\{|[&*!]|\?\?\?")
"""In a file that has none of this, nothing is Hydra's, trusts a package, is an alias or an interpolation."""

PLAIN = re.compile(r"\$\{(oc\.select:)?[\w.]+(,[\w.-]*)?\}")
"""Interpolations that files may have: another setting, and a value where there is none."""


def require(arguments: Sequence[str], configs: Path) -> None:
    """Raise UsageError if a file that a command may read does what only our files and the command line may.

    Args:
        arguments: of the command line.
        configs: our folder of configuration.
    """
    for argument in arguments:
        name = argument.partition("=")[0]
        if any(_is(name, full, short) for full, short in NOT_TAKEN.items()):
            raise UsageError(
                f"{name} is not taken: the main configuration is ours, and other files are found with "
                "--config-dir=<folder>"
            )
    places = {
        configs.resolve(): True,
        **dict.fromkeys((place.resolve() for place in added(arguments)), False),
    }
    for place, ours in places.items():
        for number, path in enumerate(sorted((*place.rglob("*.yaml"), *place.rglob("*.yml")))):
            if number >= MOST:
                raise UsageError(
                    f"{place} has more than {MOST} files of configuration: choose a smaller folder"
                )
            parts = path.relative_to(place).parts
            if not ours or (len(parts) > 1 and parts[0] not in OURS):
                _require_settings(path, preset=ours and parts[0] == PRESETS)


def added(arguments: Sequence[str]) -> Iterator[Path]:
    """Yield the folders that a command line adds to where configuration is found."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if _is(name, "--config-dir", "-cd"):
            yield Path(value if equals else following)
        elif name.lstrip("+~") == "hydra.searchpath":
            yield from (Path(found) for found in re.findall(r"file://([^\],'\"]+)", value))
            if "pkg://" in value:
                raise UsageError(
                    "hydra.searchpath takes folders, file://<folder>: packages would be imported"
                )


def _is(name: str, full: str, short: str) -> bool:
    """Say whether a word of the command line is an option, which may be shortened to what begins no other."""
    return name == short or (len(name) > 2 and name.startswith("--") and full.startswith(name))


def _require_settings(path: Path, preset: bool) -> None:
    """Raise UsageError if a file holds more than settings; a preset may give the sweeper values."""
    try:
        text = read_bytes(path, LARGEST).decode()
        if not SUSPICIOUS.search(text):
            return
        _require_package(path, text)
        if any(isinstance(token, (yaml.AliasToken, yaml.TagToken)) for token in yaml.scan(text)):
            raise UsageError(
                f"{path} has aliases or tags, which configuration is not read with: write them out"
            )
        node = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if preset and isinstance(node, dict):
        hydra = node.get("hydra")
        sweeper = hydra.get("sweeper") if isinstance(hydra, dict) and set(hydra) == {"sweeper"} else None
        if isinstance(sweeper, dict) and set(sweeper) == {"params"}:
            node = {
                **{key: value for key, value in node.items() if key != "hydra"},
                "params": sweeper["params"],
            }
    for key, value in _entries(node):
        if re.match(r"\W*hydra\b", key) or (key == "defaults" and "hydra" in str(value)):
            raise _refused(path, f"{key}: {value}")
        if re.match(r"\W*packages\b", key):
            raise UsageError(
                f"{path} has {key}: what packages are trusted is said on the command line, packages=[...], "
                "or in the environment, and by no file"
            )
        if isinstance(value, str) and "${" in value and "${" in PLAIN.sub("", value):
            raise UsageError(
                f"{path} has {key}={value}: files of configuration may refer to other settings, ${{a.b}}, "
                "and not call resolvers, which read the environment"
            )


def _require_package(path: Path, text: str) -> None:
    """Raise UsageError if the first lines put what follows among Hydra's settings."""
    for line in text.splitlines():
        directive = re.match(r"\s*#\s*@package\s+(.*)", line)
        if directive and "hydra" in directive.group(1):
            raise _refused(path, line)


def _entries(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, and items of lists with the key that they are below."""
    waiting: list[tuple[str, Any]] = [("", node)]
    while waiting:
        above, each = waiting.pop()
        items = each if isinstance(each, list) else ()
        for key, value in each.items() if isinstance(each, dict) else ((above, part) for part in items):
            yield str(key), value
            waiting.append((str(key), value))


def _refused(path: Path, what: str) -> UsageError:
    return UsageError(
        f"{path} has {what[:100]!r}: Hydra's own settings come from our files and the command line alone. "
        "Remove it, or give it on the command line"
    )

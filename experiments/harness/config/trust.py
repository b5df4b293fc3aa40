"""What files of configuration may do: hold settings, and name what is built; Hydra's own are not theirs.

Hydra calls what its own settings name (launchers, sweepers, callbacks, logging) before a task of ours starts.
They come from our files and the command line alone. So Hydra reads through this module: every other file is
examined when it is read, however it was reached (``--config-dir``, a file beside ours, a link, a path in
another file), and the command is refused for the first that would do more.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins import file_config_source, importlib_resources_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from ..errors import UsageError
from ..invocation import HOUSE, IN_CHECKOUT
from ..runs.files import MIB, read_bytes

CONFIGS = (HOUSE.parent if IN_CHECKOUT else HOUSE) / "conf"
"""Our folder of configuration."""

LARGEST = MIB
"""Bytes of a file."""

OURS = "hydra"
"""Folder below ours whose files may hold Hydra's settings; files beside it may, too."""

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


def require(arguments: Sequence[str]) -> None:
    """Raise UsageError if a command line replaces the main configuration."""
    for argument in arguments:
        name = argument.partition("=")[0]
        if any(_is(name, full, short) for full, short in NOT_TAKEN.items()):
            raise UsageError(
                f"{name} is not taken: the main configuration is ours, and other files are found with "
                "--config-dir=<folder>"
            )


def added(arguments: Sequence[str]) -> Iterator[Path]:
    """Yield the folders of ``--config-dir``."""
    for argument, following in itertools.pairwise([*arguments, ""]):
        name, equals, value = argument.partition("=")
        if _is(name, "--config-dir", "-cd"):
            yield Path(value if equals else following)


def guard() -> None:
    """Have Hydra read files and packages by the classes of this module, in this process."""
    Plugins.instance()  # which registers those of Hydra, and keeps what is there already
    SourcesRegistry.instance().types.update(file=FileConfigSource, pkg=ImportlibResourcesConfigSource)


class FileConfigSource(ConfigSource):
    """A folder of configuration, as Hydra's class of this name, but for what is read."""

    def __init__(self, provider: str, path: str) -> None:
        self._files = file_config_source.FileConfigSource(provider, path)
        super().__init__(provider, f"{self.scheme()}://{self._files.path}")

    @staticmethod
    def scheme() -> str:
        return "file"

    def load_config(self, config_path: str) -> ConfigResult:
        text = examined(Path(self.path, self._normalize_file_name(config_path)))
        return ConfigResult(
            config=OmegaConf.load(io.StringIO(text)),
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header=self._get_header_dict(text),
        )

    def available(self) -> bool:
        return self._files.available()

    def is_group(self, config_path: str) -> bool:
        return self._files.is_group(config_path)

    def is_config(self, config_path: str) -> bool:
        return self._files.is_config(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return self._files.list(config_path, results_filter)


class ImportlibResourcesConfigSource(ConfigSource):
    """Configuration in a package, as Hydra's class of this name: Hydra's own packages, and of its plugins.

    Raises:
        UsageError: if a search path names the package: it would be imported.
    """

    def __init__(self, provider: str, path: str) -> None:
        if provider.startswith("hydra.searchpath"):
            raise UsageError(
                f"hydra.searchpath takes folders, file://<folder>, not {path}: packages would be imported"
            )
        self._package = importlib_resources_config_source.ImportlibResourcesConfigSource(provider, path)
        super().__init__(provider, path)

    @staticmethod
    def scheme() -> str:
        return "pkg"

    def load_config(self, config_path: str) -> ConfigResult:
        return self._package.load_config(config_path)

    def available(self) -> bool:
        return self._package.available()

    def is_group(self, config_path: str) -> bool:
        return self._package.is_group(config_path)

    def is_config(self, config_path: str) -> bool:
        return self._package.is_config(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return self._package.list(config_path, results_filter)


def _is(name: str, full: str, short: str) -> bool:
    """Say whether a word of the command line is an option, which may be shortened to what begins no other."""
    return name == short or (len(name) > 2 and name.startswith("--") and full.startswith(name))


def examined(path: Path) -> str:
    """Return the text of a file of configuration.

    Raises:
        UsageError: if it cannot be read, is no YAML, or holds more than settings and is not ours; a preset of
            ours may give the sweeper values.
    """
    path = path.resolve()
    parts = path.relative_to(CONFIGS).parts if path.is_relative_to(CONFIGS) else ()
    try:
        text = read_bytes(path, LARGEST).decode()
        if len(parts) != 1 and parts[:1] != (OURS,) and SUSPICIOUS.search(text):
            _require_settings(path, text, preset=parts[:1] == (PRESETS,))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    return text


def _require_settings(path: Path, text: str, preset: bool) -> None:
    _require_package(path, text)
    if any(isinstance(token, (yaml.AliasToken, yaml.TagToken)) for token in yaml.scan(text)):
        raise UsageError(f"{path} has aliases or tags, which configuration is not read with: write them out")
    node = yaml.safe_load(text)
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

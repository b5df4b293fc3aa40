"""Restrictions on files of configuration: they may hold settings and name objects, but no settings of Hydra.

Hydra calls objects that its own settings name (launchers, sweepers, callbacks, logging) before a task starts.
Therefore these settings may only be in files of this package and on the command line. Hydra reads files by
the classes of this module: every other file is examined when it is read, however it was reached
(``--config-dir``, a file in the same folder, a link, a path in another file), and is an error if it has more.
"""

from __future__ import annotations

import io
import itertools
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hydra._internal.core_plugins import (
    file_config_source,
    importlib_resources_config_source,
    structured_config_source,
)
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import Container, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import UsageError
from ..invocation import HOUSE, IN_CHECKOUT
from ..runs.files import MIB, read_bytes

CONFIGS = (HOUSE.parent if IN_CHECKOUT else HOUSE) / "conf"
"""The folder of configuration of this package."""

LARGEST = MIB
"""Largest number of bytes of a file."""

OURS = "hydra"
"""Folder of this package's files that may hold Hydra's settings; files in its parent folder may, too."""

PRESETS = "sweep"
"""Folder of files that may set values of the sweeper, and no other setting of Hydra."""

NOT_TAKEN = {
    "--config-path": "-cp",
    "--config-name": "-cn",
    "--experimental-rerun": "--experimental-rerun",
}
"""Arguments of Hydra that replace the main configuration, or unpickle one; and their short forms."""

MAIN = "main"
"""Hydra's name for the folder of the main configuration."""

RESERVED = re.compile(r"\b(hydra|packages)\b")
"""Keys, packages or paths that refer to Hydra or to the list of trusted packages."""

SUSPICIOUS = re.compile(r"hydra|packages|\\|\$\{")
"""If a file does not match this, it has no reserved key and no interpolation."""

MARKS = re.compile(r"[*!]")
"""If a file does not match this, it has no alias and no tag."""

PLAIN = re.compile(r"\$\{(oc\.select:)?[\w.]+(,[\w.-]*)?\}")
"""Interpolations that files may have: references to other settings, with or without a default value."""


def require(arguments: Sequence[str]) -> None:
    """Raise UsageError if a command line replaces the main configuration."""
    for argument in arguments:
        name = argument.partition("=")[0]
        if any(_is(name, full, short) for full, short in NOT_TAKEN.items()):
            raise UsageError(
                f"{name} is not allowed: the main configuration is fixed, and other files are found with "
                "--config-dir=<folder>"
            )


def added(arguments: Sequence[str]) -> Iterator[Path]:
    """Yield the folders of ``--config-dir``."""
    for argument, following in itertools.pairwise([*arguments, ""]):
        name, equals, value = argument.partition("=")
        if _is(name, "--config-dir", "-cd"):
            yield Path(value if equals else following)


def guard() -> None:
    """Have Hydra read configuration through the classes of this module, in this process."""
    Plugins.instance()  # which registers those of Hydra, and keeps what is there already
    sources = (FileConfigSource, ImportlibResourcesConfigSource, StructuredConfigSource)
    SourcesRegistry.instance().types.update({source.scheme(): source for source in sources})


class _Source(ConfigSource):
    """A source of configuration that wraps one of Hydra's.

    The classes have the names of Hydra's, which selects them by name.
    """

    KIND: ClassVar[type[ConfigSource]]

    def __init__(self, provider: str, path: str) -> None:
        if provider.startswith("hydra.searchpath") and self.scheme() != "file":
            raise UsageError(
                f"hydra.searchpath takes folders, file://<folder>, not {path}: packages would be imported"
            )
        self._hydras = self.KIND(provider, path)
        super().__init__(provider, f"{self.scheme()}://{self._hydras.path}")

    def load_config(self, config_path: str) -> ConfigResult:
        return self._hydras.load_config(config_path)

    def available(self) -> bool:
        return self._hydras.available()

    def is_group(self, config_path: str) -> bool:
        return self._hydras.is_group(config_path)

    def is_config(self, config_path: str) -> bool:
        return self._hydras.is_config(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return self._hydras.list(config_path, results_filter)


class FileConfigSource(_Source):
    """A folder of configuration; every file is examined when it is read."""

    KIND = file_config_source.FileConfigSource

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        place = Path(self.path)
        if provider != MAIN and place.resolve() != CONFIGS.resolve():
            for page in sorted(CONFIGS.rglob("*.yaml")):
                name = page.relative_to(CONFIGS)
                if _mode(place / name):
                    raise UsageError(
                        f"{place / name} has the name of a page of this project, {name.with_suffix('')}, "
                        "which takes precedence: give it another name"
                    )

    @staticmethod
    def scheme() -> str:
        return "file"

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path))
        ours = self.provider == MAIN and config_path.startswith(f"{OURS}/")
        if RESERVED.search(config_path) and not ours:
            raise _refused(path, config_path)  # Hydra would put it among its settings, by its place
        config, header = examined(path)
        return ConfigResult(self.provider, self.full_path(), config, header)

    def is_group(self, config_path: str) -> bool:
        return stat.S_ISDIR(_mode(Path(self.path, config_path)))

    def is_config(self, config_path: str) -> bool:
        mode = _mode(Path(self.path, self._normalize_file_name(config_path)))
        return mode != 0 and not stat.S_ISDIR(mode)  # a pipe is detected when it is examined


class ImportlibResourcesConfigSource(_Source):
    """Configuration in Hydra's package, or in a plugin's, which is code that was installed."""

    KIND = importlib_resources_config_source.ImportlibResourcesConfigSource

    @staticmethod
    def scheme() -> str:
        return "pkg"

    def is_group(self, config_path: str) -> bool:
        return _is_inside(config_path) and super().is_group(config_path)

    def is_config(self, config_path: str) -> bool:
        return _is_inside(config_path) and super().is_config(config_path)


class StructuredConfigSource(_Source):
    """Configuration that code has registered."""

    KIND = structured_config_source.StructuredConfigSource

    @staticmethod
    def scheme() -> str:
        return "structured"


def _is_inside(config_path: str) -> bool:
    """Return whether a path leads to something below its start."""
    path = Path(config_path)
    return not path.is_absolute() and ".." not in path.parts


def _mode(path: Path) -> int:
    """Return the type of file that a path leads to, as in ``stat``; 0 if it cannot be reached."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def _is(name: str, full: str, short: str) -> bool:
    """Return whether a command-line argument is an option, possibly shortened to a unique prefix."""
    return name == short or (len(name) > 2 and name.startswith("--") and full.startswith(name))


def examined(path: Path) -> tuple[Container, dict[str, str | None]]:
    """Return the content of a file of configuration, and the directives of its first lines.

    Raises:
        UsageError: if it cannot be read, is not YAML, or contains more than settings and is not a file of
            this project, whose presets may give values to the sweeper.
    """
    try:
        path = path.resolve()
        parts = path.relative_to(CONFIGS).parts if path.is_relative_to(CONFIGS) else ()
        theirs = len(parts) != 1 and parts[:1] != (OURS,)
        text = read_bytes(path, LARGEST).decode()
        if theirs and MARKS.search(text):
            _require_no_aliases(path, text)
        config, header = OmegaConf.load(io.StringIO(text)), ConfigSource._get_header_dict(text)
        if theirs and SUSPICIOUS.search(text):
            if RESERVED.search(header["package"] or ""):
                raise _refused(path, f"@package {header['package']}")
            _require_settings(path, OmegaConf.to_container(config), preset=parts[:1] == (PRESETS,))
    except (OSError, ValueError, RuntimeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    return config, header


def _require_no_aliases(path: Path, text: str) -> None:
    if any(isinstance(token, (yaml.AliasToken, yaml.TagToken)) for token in yaml.scan(text)):
        raise UsageError(f"{path} has YAML aliases or tags, which are not allowed: write the values out")


def _require_settings(path: Path, node: Any, preset: bool) -> None:
    if preset and isinstance(node, dict):
        hydra = node.get("hydra")
        sweeper = hydra.get("sweeper") if isinstance(hydra, dict) and set(hydra) == {"sweeper"} else None
        if isinstance(sweeper, dict) and set(sweeper) == {"params"}:
            node = {
                **{key: value for key, value in node.items() if key != "hydra"},
                "params": sweeper["params"],
            }
    for key, value in _entries(node):
        if RESERVED.search(key) or (key == "defaults" and re.search("hydra|packages", str(value))):
            raise _refused(path, f"{key}: {value}")
        if not isinstance(value, str) or "${" not in (plain := value.replace("\\", "")):
            continue
        if key == "defaults":
            raise UsageError(f"{path} has {value} in its defaults: write the path out, without ${{...}}")
        if "${" in PLAIN.sub("", plain):
            raise UsageError(
                f"{path} has {key}={value}: configuration files may refer to other settings, ${{a.b}}, but "
                "not call resolvers, which read the environment"
            )


def _entries(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, and items of lists with the key of the list."""
    waiting: list[tuple[str, Any]] = [("", node)]
    while waiting:
        above, each = waiting.pop()
        items = each if isinstance(each, list) else ()
        for key, value in each.items() if isinstance(each, dict) else ((above, part) for part in items):
            yield str(key), value
            waiting.append((str(key), value))


def _refused(path: Path, what: str) -> UsageError:
    if "hydra" in what:
        return UsageError(
            f"{path} has {what[:100]!r}: Hydra's own settings are only allowed in the files of this "
            "project and on the command line. Remove it, or give it on the command line"
        )
    return UsageError(
        f"{path} has {what[:100]}: trusted packages are named on the command line, packages=[...], or "
        "in the environment, not in a file"
    )

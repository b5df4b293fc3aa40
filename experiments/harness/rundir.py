"""The folder of a run: its identity, what is in it, and its manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.harness.cli import UsageError
from experiments.harness.files import write_atomically, write_json

FORMAT = 1
"""Version of the layout of a run's folder."""

WITHOUT_EFFECT = ("label", "tracking", "paths", "run")
"""Settings that cannot change a result."""

PACKAGES = ("metalearn", "tensorflow", "keras", "numpy", "hydra-core", "omegaconf", "wandb", "matplotlib")

Config = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """Paths inside the folder of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def manifest(self) -> Path:
        """What made the run, and how far it is."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """One row an iteration."""
        return self.path / "metrics.csv"

    @property
    def evaluation(self) -> Path:
        """The final evaluation."""
        return self.path / "evaluation.json"

    @property
    def losses(self) -> Path:
        """Each evaluation task's loss at each step."""
        return self.path / "evaluation.npz"

    @property
    def checkpoints(self) -> Path:
        """The trainer's states."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """PNG files."""
        return self.path / "figures"


def identity(config: Config) -> str:
    """Return eight hexadecimal digits that any setting which can change the result changes."""
    return digest({key: value for key, value in config.items() if key not in WITHOUT_EFFECT})


def digest(config: Config) -> str:
    """Return eight hexadecimal digits of a configuration's content."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]


def locate(config: Config) -> RunDirectory:
    """Return the folder for a configuration, whether it exists or not.

    With ``run.fresh``, the first of ``<id>``, ``<id>-2``, ``<id>-3``, … that does not.
    """
    base = Path(config["paths"]["runs"]) / str(config["name"]) / identity(config)
    if not config["run"]["fresh"]:
        return RunDirectory(base)
    attempt = 1
    while (path := base if attempt == 1 else base.with_name(f"{base.name}-{attempt}")).exists():
        attempt += 1
    return RunDirectory(path)


def create(run: RunDirectory, config: Config) -> None:
    """Make the folder with its configuration and manifest.

    Raises:
        UsageError: if it cannot be written.
    """
    try:
        run.checkpoints.mkdir(parents=True, exist_ok=True)
        run.figures.mkdir(exist_ok=True)
        text = OmegaConf.to_yaml(OmegaConf.create(config))
        write_atomically(run.config, lambda file: file.write(text.encode()))
        write_json(run.manifest, _new_manifest(config))
    except OSError as error:
        raise UsageError(
            f"cannot write to {run.path}: {error.strerror}; choose another paths.runs=<dir>"
        ) from error


def read_config(run: RunDirectory) -> Config:
    """Return the configuration of an existing run.

    Raises:
        UsageError: if there is none, or it cannot be read.
    """
    if not run.config.is_file():
        raise UsageError(f"run={run.path} is not the folder of a run: it has no config.yaml")
    try:
        config = OmegaConf.to_container(OmegaConf.load(run.config), resolve=False)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UsageError(f"{run.config} cannot be read: {error}") from error
    if not isinstance(config, dict) or not config:
        raise UsageError(f"{run.config} is not a configuration")
    return config  # type: ignore[return-value]


def read_manifest(run: RunDirectory) -> dict[str, Any] | None:
    """Return the manifest, or None where there is no run yet.

    Raises:
        UsageError: if it cannot be read, or its format is not this version's.
    """
    if not run.manifest.exists():
        return None
    try:
        manifest = json.loads(run.manifest.read_text())
        found = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{run.manifest} cannot be read: {error!r}; run.fresh=true starts beside it"
        ) from error
    if found != FORMAT:
        raise UsageError(f"{run.path} has format {found!r}, this version reads {FORMAT}")
    return manifest


def update_manifest(run: RunDirectory, **changes: Any) -> None:
    """Change entries of the manifest."""
    write_json(run.manifest, {**(read_manifest(run) or {}), **changes})


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def command() -> str:
    """Return the command line that started this process."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", module.name] if module else ["python", sys.argv[0]]
    return shlex.join([*program, *sys.argv[1:]])


def _new_manifest(config: Config) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "status": "running",
        "command": command(),
        "git": _git(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "processor": {"model": _processor(), "cores": os.cpu_count()},
        "system": platform.platform(),
        "seeds": {"training": config["seed"], "evaluation": config["evaluation"]["seed"]},
        "start": now(),
        "end": None,
        "iteration": 0,
        "parameters_digest": None,
    }


def _git() -> dict[str, Any] | None:
    def ask(*arguments: str) -> str:
        root = Path(__file__).resolve().parents[2]
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")

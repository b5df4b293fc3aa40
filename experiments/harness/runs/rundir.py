"""The folder of a run: its identity, its files, and its manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import UsageError
from ..invocation import command
from . import environment, identity, provenance
from .files import MIB, WANDB, read_bytes, sha256, write_bytes, write_json
from .identity import Config

FORMAT = 3
"""Version of the structure of a run's folder."""

KINDS = {"status": str, "identity": str, "config": str, "iteration": int, "afterwards": dict, "resumed": list}
"""Keys of every manifest."""

LARGEST_CONFIG, LARGEST_MANIFEST, LARGEST_EVALUATION = MIB, 16 * MIB, 256 * MIB
"""Largest number of bytes of each file."""


class _Inside:
    """A path inside the folder of a run, by its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: RunDirectory, _: object = None) -> Path:
        return run.path / self._name


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """The paths inside the folder of a run."""

    path: Path

    config = _Inside("config.yaml")
    """The resolved configuration."""
    manifest = _Inside("manifest.json")
    """The code, the environment and the state of the run."""
    uncommitted = _Inside("uncommitted.diff")
    """Changes to the code since its last commit, if there were any."""
    metrics = _Inside("metrics.csv")
    """A row for each iteration."""
    diagnostics = _Inside("diagnostics.csv")
    """A row for each diagnosis of the meta-gradient, if there are any."""
    validation = _Inside("validation.csv")
    """A row for each validation, if there are any."""
    evaluation = _Inside("evaluation.json")
    """The final evaluation."""
    evaluations = _Inside("evaluations")
    """Evaluations in addition to the final one."""
    losses = _Inside("evaluation.npz")
    """Each evaluation task's loss at each step."""
    error = _Inside("error.txt")
    """The traceback of the error that ended the run, if there was one."""
    checkpoints = _Inside("checkpoints")
    """The trainer's states."""
    evolution = _Inside("evolution")
    """Learned images, after some of the iterations."""
    figures = _Inside("figures")
    """PNG files."""

    @property
    def appended(self) -> tuple[Path, ...]:
        """Files that grow during the run, and are truncated when it resumes from a checkpoint."""
        return self.metrics, self.diagnostics, self.validation


def locate(config: Config) -> RunDirectory:
    """Return the folder for a configuration, whether it exists or not.

    Of ``<id>``, ``<id>-2``, ``<id>-3``, … it is the last that exists; with ``run.fresh``, the first that does
    not.
    """
    base = Path(config["paths"]["runs"]) / str(config["name"]) / identity.training(config)
    found, following, attempt = base, base, 1
    while following.exists():
        attempt += 1
        found, following = following, base.with_name(f"{base.name}-{attempt}")
    return RunDirectory(following if config["run"]["fresh"] else found)


def create(run: RunDirectory, config: Config) -> None:
    """Write configuration and manifest into the folder of a run, which is made if it does not exist.

    Raises:
        UsageError: if it cannot be written, or contains results without a manifest.
    """
    if run.metrics.exists() or any(run.checkpoints.glob("*")):
        raise UsageError(f"{run.path} contains results but no manifest.json: run.fresh=true starts a new run")
    with writing(run.path):
        run.checkpoints.mkdir(exist_ok=True)
        run.figures.mkdir(exist_ok=True)
        write_bytes(run.config, OmegaConf.to_yaml(OmegaConf.create(identity.kept(config))).encode())
        provenance.keep_uncommitted(run.uncommitted, config)
        _write_manifest(run, _new_manifest(config))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the folder of a run or a sweep, if it does not exist, and write into it within.

    Raises:
        UsageError: if that cannot be done.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = f"cannot write to {path}: {error.strerror}; choose another paths.runs=<dir>"
        raise UsageError(reason) from error


def below(folder: Path) -> list[Path]:
    """Return the folders of all runs in a folder, without the configurations that W&B stores."""
    found = sorted({path.parent for path in folder.rglob("config.yaml")})
    return [path for path in found if WANDB not in path.relative_to(folder).parts]


def read(run: RunDirectory, packages: Sequence[str] = ()) -> tuple[Config, Config]:
    """Return configuration and manifest of an existing run, with the label and evaluation of last time.

    Args:
        run: the folder of the run.
        packages: the packages that the user trusts for this command; the run cannot add to them.

    Raises:
        UsageError: if one of them is missing, damaged or of another version, or they belong to different
            runs.
    """
    config, manifest = _read_config(run), read_manifest(run)
    if manifest is None:
        raise UsageError(f"run={run.path} is not the folder of a run: it has no manifest.json")
    config = identity.kept(config)
    if manifest.get("config") != identity.digest(config):
        raise UsageError(f"{run.config} is not the configuration that {run.manifest} was written for")
    later = identity.afterwards(manifest["afterwards"])
    return {**config, **later, **({"packages": [*packages]} if packages else {})}, manifest


def _read_config(run: RunDirectory) -> Config:
    if not run.config.exists():
        raise UsageError(f"run={run.path} is not the folder of a run: it has no config.yaml")
    try:
        text = read_bytes(run.config, LARGEST_CONFIG).decode()
        # A few lines of them can stand for more than fits into memory, or for what is no plain data.
        if any(isinstance(token, (yaml.AliasToken, yaml.TagToken)) for token in yaml.scan(text)):
            raise ValueError("it has aliases or tags, and we write none")
        if "${" in text:
            raise ValueError("it has interpolations, but a stored configuration is resolved")
        config = OmegaConf.to_container(OmegaConf.create(text))
        identity.digest(config)  # has to be possible: an integer may have more digits than Python writes
    except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UsageError(f"{run.config} cannot be read: {error}") from error
    if not isinstance(config, dict) or not config:
        raise UsageError(f"{run.config} is not a configuration")
    return config  # type: ignore[return-value]


def read_manifest(run: RunDirectory) -> Config | None:
    """Return the manifest, or None where there is no run yet.

    Raises:
        UsageError: if it cannot be read, is damaged, or its format is not this version's.
    """
    if not run.manifest.exists():
        return None
    try:
        manifest = json.loads(read_bytes(run.manifest, LARGEST_MANIFEST))
        found, seal = manifest["format"], manifest.pop("seal", None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{run.manifest} cannot be read: {error!r}; run.fresh=true starts a new run"
        ) from error
    if found != FORMAT:
        raise UsageError(
            f"{run.path} has format {found!r}, this version reads {FORMAT}: read it with the version that "
            "wrote it, or train it again"
        )
    if seal != _seal(manifest):
        raise UsageError(
            f"{run.manifest} is damaged: it was changed after it was written; run.fresh=true starts a new run"
        )
    for key, kind in KINDS.items():
        if not isinstance(manifest.get(key), kind):
            raise UsageError(f"{run.manifest} is damaged: it has no {key}; run.fresh=true starts a new run")
    return manifest


def update_manifest(run: RunDirectory, **changes: Any) -> None:
    """Change entries of the manifest."""
    _write_manifest(run, {**(read_manifest(run) or {}), **changes})


def require_unchanged(run: RunDirectory, manifest: Config, path: Path) -> None:
    """Raise UsageError unless a file of a complete run is unchanged."""
    try:
        if sha256(path) != manifest["files"][path.name]:
            raise UsageError(f"{path} is damaged: it was changed after the run was complete")
    except (OSError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be read: {error!r}") from error


def checksums(run: RunDirectory) -> dict[str, str]:
    """Return the SHA-256 of the files with the results of a complete run."""
    return {path.name: sha256(path) for path in (run.metrics, run.evaluation, run.losses)}


def _write_manifest(run: RunDirectory, manifest: Config) -> None:
    write_json(run.manifest, {**manifest, "seal": _seal(manifest)})


def _seal(manifest: Config) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _new_manifest(config: Config) -> Config:
    return {
        "format": FORMAT,
        "status": "running",
        "command": command(),
        "identity": identity.training(config),
        "config": identity.digest(identity.kept(config)),
        "afterwards": identity.afterwards(config),
        "seeds": {"training": config["seed"], "evaluation": config["evaluation"]["seed"]},
        "start": now(),
        "end": None,
        "iteration": 0,
        "resumed": [],
        "parameters_digest": None,
        **environment.describe(config),
    }

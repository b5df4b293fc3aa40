"""Checkpoints: the trainer's state as an npz of plain arrays, the last two kept."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from experiments.harness.cli import UsageError
from experiments.harness.files import write_atomically
from metalearn import MetaTrainer

KEPT = 2

State = dict[str, np.ndarray]


def save(directory: Path, state: State) -> Path:
    """Write ``state`` as ``<iteration>.npz`` and remove all but the newest two; return its path."""
    path = directory / f"{int(state['iteration']):010d}.npz"
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **state))
    for old in _all(directory)[:-KEPT]:
        old.unlink()
    return path


def newest(directory: Path) -> Path | None:
    """Return the newest checkpoint, or None."""
    return max(_all(directory), default=None)


def load(path: Path) -> State:
    """Read a checkpoint.

    Raises:
        UsageError: if the file is not a checkpoint.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read as a checkpoint: {error}") from error


def restore(trainer: MetaTrainer, path: Path) -> None:
    """Set ``trainer`` to the state of a checkpoint.

    Raises:
        UsageError: if the file is not a checkpoint, or is one of another configuration.
    """
    try:
        trainer.restore(load(path))
    except ValueError as error:
        raise UsageError(f"{path} does not fit the run's configuration: {error}") from error


def _all(directory: Path) -> list[Path]:
    return sorted(directory.glob("[0-9]*.npz"))

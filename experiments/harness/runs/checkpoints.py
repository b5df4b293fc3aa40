"""Checkpoints: npz files with a checksum and the identity of their run; the last two are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..console import say
from ..errors import UsageError
from . import arrays
from .files import write_atomically

KEPT = 2

RUN, SEAL = "run", "sha256"
"""Entries in addition to the state: the run's identity, and the checksum of all other entries."""

State = dict[str, np.ndarray]


def save(directory: Path, identity: str, state: State) -> Path:
    """Write ``state`` as ``<iteration>.npz`` and remove all but the newest two; return its path."""
    path = directory / f"{int(state['iteration']):010d}.npz"
    sealed = {**state, RUN: np.array(identity)}
    sealed[SEAL] = np.array(_checksum(sealed))
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **sealed))
    for old in listed(directory)[:-KEPT]:
        old.unlink()
    return path


def load(path: Path, identity: str) -> State:
    """Read a checkpoint.

    Raises:
        UsageError: if the file is not a checkpoint, is damaged, or belongs to another run.
    """
    try:
        state = arrays.read(path)
        seal, run = str(state.pop(SEAL)), str(state[RUN])
    except KeyError as error:
        raise UsageError(f"{path} is not a checkpoint of this version: it has no {error}") from error
    except UsageError:
        raise
    except Exception as error:  # Damage shows in the zip, in its compression, in NumPy's headers, in sizes.
        raise UsageError(f"{path} cannot be read as a checkpoint: {error!r}") from error
    if seal != _checksum(state):
        raise UsageError(f"{path} is damaged: its checksum does not match its content")
    if run != identity:
        raise UsageError(f"{path} is a checkpoint of another run, {run}, not of {identity}")
    del state[RUN]
    return state


def recover(directory: Path, identity: str, accept: Callable[[State], None]) -> bool:
    """Pass the newest valid checkpoint to ``accept``; return whether there is any checkpoint at all.

    Damaged and rejected ones are reported.

    Args:
        directory: the folder of the checkpoints.
        identity: the identity of the run.
        accept: may reject a checkpoint by UsageError or ValueError, without having changed anything.

    Raises:
        UsageError: if there are checkpoints and none of them can be used.
    """
    refused = ""
    for path in reversed(listed(directory)):
        try:
            accept(load(path, identity))
            return True
        except (UsageError, ValueError) as error:
            refused = str(error)
            say(refused, "not used:", "bold yellow")
    if refused:
        raise UsageError(
            f"no checkpoint in {directory} can be used, the oldest because {refused}; "
            "run.fresh=true starts a new run"
        )
    return False


def _checksum(state: State) -> str:
    total = hashlib.sha256()
    for name, value in sorted(state.items()):
        array = np.asarray(value)
        total.update(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    return total.hexdigest()


def listed(directory: Path) -> list[Path]:
    """Return the checkpoints of a folder, the newest last."""
    return sorted(directory.glob("[0-9]*.npz"))

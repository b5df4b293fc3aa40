"""Append-only CSV files of numbers with nine significant digits, which are exact for float32."""

from __future__ import annotations

import csv
import hashlib
import os
from pathlib import Path

import numpy as np

from metalearn.callbacks.csv import header, lines
from metalearn.training.history import History

from ..errors import UsageError
from .checkpoints import State
from .files import MIB, open_plain, require_regular, sha256

SIZE, CONTENT = "bytes", "sha256"
"""Suffixes of a file's entries in a checkpoint: the size of the file, and the checksum of its content."""

LARGEST = 4096 * MIB
"""Largest number of bytes of a file: some thirty million iterations."""

EMPTY = hashlib.sha256().hexdigest()


def append(path: Path, first_iteration: int, history: History) -> None:
    """Append the rows of consecutive iterations, with a header if the file is new."""
    with open_plain(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, "a", newline="") as file:
        if file.tell() == 0:
            file.write(header(history))
        file.write(lines(first_iteration, history))


def read(path: Path) -> History:
    """Read all rows.

    Raises:
        UsageError: if the file is not one that :func:`append` wrote.
    """
    iterations, columns = read_table(path)
    if not np.array_equal(iterations, np.arange(len(iterations))):
        raise UsageError(f"{path} cannot be read as metrics: iterations are not 0, 1, 2, ...")
    return columns


def read_table(path: Path) -> tuple[np.ndarray, History]:
    """Read all rows; the first column is the iteration, which may have any values.

    Raises:
        UsageError: if the file is not one that :func:`append` wrote.
    """
    try:
        require_regular(path, LARGEST)
        with path.open(newline="") as file:
            header = next(csv.reader(file))
            table = np.loadtxt(file, delimiter=",", ndmin=2)
        if header[0] != "iteration" or table.shape[1] != len(header):
            raise ValueError("columns and header differ")
    except (OSError, ValueError, StopIteration) as error:
        raise UsageError(f"{path} cannot be read as metrics: {error}") from error
    columns = {name: table[:, index + 1].astype(np.float32) for index, name in enumerate(header[1:])}
    return table[:, 0].astype(np.int64), columns


def last_iteration(path: Path) -> int | None:
    """Return the iteration of the last row; None if there is none."""
    return int(read_table(path)[0][-1]) if path.exists() else None


def position(path: Path) -> State:
    """Return the size and the checksum of the file for a checkpoint, after flushing it to disk."""
    size, content = 0, EMPTY
    if path.exists():
        with path.open("rb") as file:
            os.fsync(file.fileno())
        size = path.stat().st_size
        content = sha256(path, size)
    return {f"{path.name}/{SIZE}": np.array(size, np.int64), f"{path.name}/{CONTENT}": np.array(content)}


def go_back(path: Path, state: State) -> None:
    """Truncate the file to its size at a checkpoint: later rows will be computed again.

    Raises:
        UsageError: if its content up to that size has changed.
    """
    size, content = int(state[f"{path.name}/{SIZE}"]), str(state[f"{path.name}/{CONTENT}"])
    try:
        if size == 0:
            path.unlink(missing_ok=True)
            return
        if path.stat().st_size < size or sha256(path, size) != content:
            raise UsageError(f"{path} was changed or truncated after the checkpoint")
        with open_plain(path, os.O_RDWR, "rb+") as file:
            file.truncate(size)
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"{path} cannot be cut to the checkpoint: {error}") from error

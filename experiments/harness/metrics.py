"""``metrics.csv``: one row an iteration, appended to; numbers with the nine digits that fix a float32."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from experiments.harness.cli import UsageError
from metalearn.training import History


def append(path: Path, first_iteration: int, history: History) -> None:
    """Append the rows of ``history``, with a header if the file is new."""
    columns = list(history)
    rows = np.stack(
        [np.arange(first_iteration, first_iteration + len(history[columns[0]])), *history.values()], 1
    )
    template = ",".join(["%d"] + ["%.9g"] * len(columns)) + "\n"
    with path.open("a", newline="") as file:
        if file.tell() == 0:
            file.write(",".join(["iteration", *columns]) + "\n")
        file.write(template * len(rows) % tuple(rows.ravel().tolist()))


def read(path: Path) -> History:
    """Read all rows.

    Raises:
        UsageError: if the file is not one that :func:`append` wrote.
    """
    try:
        with path.open(newline="") as file:
            header = next(csv.reader(file))
            table = np.loadtxt(file, delimiter=",", ndmin=2)
        if header[0] != "iteration" or table.shape[1] != len(header):
            raise ValueError("columns and header differ")
        if not np.array_equal(table[:, 0], np.arange(len(table))):
            raise ValueError("iterations are not 0, 1, 2, ...")
    except (OSError, ValueError, StopIteration) as error:
        raise UsageError(f"{path} cannot be read as metrics: {error}") from error
    return {name: table[:, index + 1].astype(np.float32) for index, name in enumerate(header[1:])}


def truncate(path: Path, iterations: int) -> None:
    """Cut the file after ``iterations`` rows: what follows came after the checkpoint.

    Raises:
        UsageError: if there are fewer rows.
    """
    if iterations == 0:
        path.unlink(missing_ok=True)
        return
    try:
        with path.open("rb+") as file:
            lines = 0
            for line in iter(file.readline, b""):
                lines += line.endswith(b"\n")
                if lines == iterations + 1:
                    break
            else:
                raise UsageError(f"{path} holds {max(lines - 1, 0)} rows, the checkpoint is at {iterations}")
            file.truncate()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"{path} cannot be cut to the checkpoint: {error}") from error

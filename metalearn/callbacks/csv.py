"""The metrics of a training as a table with a row for each iteration, in the nine digits of a float32."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from metalearn.training.calling import Call, Watch
from metalearn.training.history import History
from metalearn.training.trainer import MetaTrainer


def header(history: History) -> str:
    """Return the line with the names of the columns."""
    return ",".join(["iteration", *history]) + "\n"


def lines(first: int, history: History) -> str:
    """Return the rows of consecutive iterations, counted from 0."""
    columns = list(history.values())
    rows = np.stack([np.arange(first, first + len(columns[0])), *columns], 1)
    template = ",".join(["%d"] + ["%.9g"] * len(columns)) + "\n"
    return template * len(rows) % tuple(rows.ravel().tolist())


@dataclasses.dataclass(frozen=True)
class csv:
    """Append all metrics to a file, after each compiled call.

    If the file exists, its rows are kept up to the iteration from which the trainer continues; later rows are
    removed. A trainer at iteration 0 starts an empty file.

    Args:
        path: of the file.
    """

    path: str | Path

    def begin(self, trainer: MetaTrainer, end: int) -> Watch:
        """See :class:`metalearn.callbacks.Callback`.

        Raises:
            ValueError: if the rows of an existing file end before the trainer's iteration.
        """
        path, start = Path(self.path), trainer.iteration
        path.touch()
        names, *rows = (path.read_text() if start else "").splitlines(keepends=True) or [""]
        kept = [row for row in rows if row.endswith("\n") and int(row.partition(",")[0]) < start]
        if rows and (not kept or int(kept[-1].partition(",")[0]) != start - 1):
            raise ValueError(f"{path} has no rows up to iteration {start}, from which the trainer continues")
        os.truncate(path, len("".join([names, *kept]).encode()))

        def called(call: Call) -> None:
            columns = header(call.history)
            with path.open("a") as file:
                if file.tell() == 0:
                    file.write(columns)
                elif kept and names != columns:
                    raise ValueError(f"{path} has other columns than the training: name another file")
                file.write(lines(call.first, call.history))

        return Watch(called)

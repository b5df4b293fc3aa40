"""A run's folder belongs to one process at a time; a killed owner leaves no lock behind."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.harness.cli import UsageError


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder for the time of the context.

    The kernel holds the lock for this process and drops it with it, however it ends; the file says who.

    Raises:
        UsageError: naming the process that holds it.
    """
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise UsageError(
                f"{folder} is in the hands of another process ({file.read().strip()}): wait for it, or take "
                "run.fresh=true for a run beside it"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        yield

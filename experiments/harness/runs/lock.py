"""A lock that reserves a folder for one process; it is released when its owner is killed."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UsageError
from .files import open_plain, read_bytes

LONGEST = 1000
"""Largest number of bytes of the owner's description."""


@dataclasses.dataclass(frozen=True)
class Lock:
    """A lock that this process holds.

    Attributes:
        path: the path of its file.
        descriptor: the descriptor of the locked file.
    """

    path: Path
    descriptor: int

    def require(self) -> None:
        """Raise OSError unless this process still holds the lock: call it before writing."""
        try:
            found, own = self.path.lstat(), os.fstat(self.descriptor)
            lost = (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino)
        except FileNotFoundError:
            lost = True
        if lost:
            reason = (
                "it was removed or replaced, so another process may write to this folder, and this one stops"
            )
            raise OSError(errno.ESTALE, reason, str(self.path))


@contextmanager
def locked(folder: Path, remedy: str = "use run.fresh=true for a new run") -> Iterator[Lock]:
    """Lock the folder within the context.

    The kernel releases the lock when this process ends, for any reason; the file describes the owner.

    Args:
        folder: an existing folder.
        remedy: the alternative to waiting, for the message.

    Raises:
        UsageError: naming the process that holds the lock; or if its file is a link or not a regular file.
    """
    path = folder / ".lock"
    with open_plain(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = read_bytes(path, LONGEST).decode(errors="replace").strip()
            raise UsageError(
                f"{folder} is in use by another process ({owner}): wait for it, or {remedy}"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        lock = Lock(path, file.fileno())
        lock.require()  # it may have been removed between opening and locking
        yield lock

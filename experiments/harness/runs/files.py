"""Files of runs, possibly untrusted: written atomically, and read only up to a size limit.

Links are not followed for writing, only regular files are opened, and sizes are checked before reading.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ..errors import UsageError

MIB = 2**20

TEMPORARY = ".tmp"
"""The ending of the names of files that are being written."""

WANDB, WANDB_LINKS = "wandb", ("latest-run", "debug.log", "debug-internal.log", "debug-cli.log")
"""The folder of W&B, and the links that W&B creates and replaces in it."""


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a temporary file next to ``path``, flush it to disk, and rename it to ``path``.

    A link in that place is replaced, not followed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    temporary.unlink(missing_ok=True)
    try:
        with open_plain(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content``, as :func:`write_atomically` does."""
    write_atomically(path, lambda file: file.write(content))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def open_plain(path: Path, flags: int, mode: str, **settings: Any) -> IO[Any]:
    """Open a regular file that is no link, as ``open`` does.

    Raises:
        OSError: if it is a link, or cannot be opened.
        UsageError: if it is a pipe, a device or the like.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        _size(path, os.fstat(descriptor))
        return os.fdopen(descriptor, mode, **settings)
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes.

    Raises:
        OSError: if it cannot be opened.
        UsageError: if it is larger, or a pipe, a device or the like, which is then not read.
    """
    with _opened(path) as file:
        _size(path, os.fstat(file.fileno()), limit)
        return file.read(limit)


def require_regular(path: Path, limit: int) -> int:
    """Return the size of a regular file of at most ``limit`` bytes.

    Raises:
        OSError: if it cannot be opened.
        UsageError: as :func:`read_bytes`.
    """
    return _size(path, path.stat(), limit)


def require_plain_folder(folder: Path) -> None:
    """Raise UsageError for the first link or special file in the folder of a run.

    The folder itself may be reached by a link, and files for which W&B creates links may be links.
    """
    for place, folders, names in os.walk(folder):
        own = Path(place).name == WANDB and Path(place).parent == folder
        if WANDB in Path(place).relative_to(folder).parts[:1] and not own:
            folders.clear()
            continue
        for name in (*folders, *names):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode) or (own and name in WANDB_LINKS)):
                kind = "a link" if stat.S_ISLNK(mode) else "not a regular file"
                raise UsageError(
                    f"{path} is {kind}: the folder of a run may only contain files and folders. "
                    "Remove it, or copy the run without it"
                )


def make_plain_folder(folder: Path) -> None:
    """Make a folder to write results into, if it does not exist.

    Raises:
        UsageError: if it cannot be made, or is or contains a link.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    if folder.is_symlink():
        raise UsageError(f"{folder} is a link, which is not followed for writing: remove it")
    require_plain_folder(folder)


def users_cache() -> Path:
    """Return the user's cache folder for data shared by processes, whether it exists or not.

    Raises:
        OSError: if the user has no home folder, as in some containers.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metalearn"
    except RuntimeError as error:
        raise OSError(f"{error} Set XDG_CACHE_HOME") from error


def sweep(folder: Path) -> None:
    """Remove temporary files of killed processes from a folder that no other process writes to."""
    for path in folder.rglob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def sha256(path: Path, size: int | None = None) -> str:
    """Return the SHA-256 of a regular file, or of its first ``size`` bytes."""
    total, left = hashlib.sha256(), size
    with _opened(path) as file:
        _size(path, os.fstat(file.fileno()))
        while part := file.read(MIB if left is None else min(MIB, left)):
            total.update(part)
            left = None if left is None else left - len(part)
    return total.hexdigest()


def _opened(path: Path) -> IO[bytes]:
    """Open any path for reading, without waiting for the writer of a pipe."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def _size(path: Path, found: os.stat_result, limit: float = float("inf")) -> int:
    """Return the size of a regular file; raise UsageError for anything else, and for a larger one."""
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is not a regular file and is not read")
    if found.st_size > limit:
        raise UsageError(f"{path} has {found.st_size} bytes; such a file may have at most {limit}")
    return found.st_size

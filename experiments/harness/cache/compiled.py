"""The cache of programs that XLA has compiled, for later processes.

XLA writes compiled programs to a folder, and reads from it what another process has compiled of the same
program. It does not detect damage: a truncated file causes a fall-back to another compiler, and a wrong byte
in machine code can have any effect. Therefore every process has its own folder, with files whose content has
just been checked; new files are copied to a store, with a digest of their content in their name. ::

    <cache>/<digest of versions, processor and flags>/<name>.<SHA-256 of the content>
                                                      in-use-<random>/<name>

The files of a process are links to those of the store. No file is changed in place, so processes do not
affect each other, whenever one of them ends.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from ..runs import code, processor
from ..runs.files import sha256, users_cache

VARIABLE = "METALEARN_COMPILE_CACHE"
"""The environment variable with the folder of the cache, or ``off``."""

HELP = (
    f"{VARIABLE}=<folder>  stores compiled programs for later processes",
    f"{VARIABLE}=off       stores no compiled programs",
    "The default folder is ~/.cache/metalearn, which may be deleted.",
)
"""Lines of ``--help``."""

FLAGS, FLAG = "TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory"
"""The variable that XLA reads once, and the flags that are set in it."""

PREFIXES = ("TF_", "XLA_")
"""Prefixes of variables that a compiled program may depend on, the number of threads among them."""

LARGEST, FREE = 2**30, 2**28
"""Bytes of the store above which the oldest programs are removed, and bytes of the disk that must be free."""

IN_USE, YOUNG = "in-use-", 60
"""The prefix of a process's folder, and the seconds for which a folder without a lock is not removed."""


class Cache(NamedTuple):
    """The cache as a process sees it.

    Attributes:
        store: programs of all processes with the same versions, processor and flags.
        own: the folder of this process, with the stored programs and those that it adds.
        process: the id of this process, which differs from that of a forked child.
    """

    store: Path
    own: Path
    process: int

    def keep(self) -> None:
        """Add what XLA has compiled since the last call to the store; a full disk is no error."""
        with contextlib.suppress(OSError):
            for path in self.own.glob("*.pb"):
                if path.stat().st_nlink == 1:  # and no link to what is in the store
                    with contextlib.suppress(FileExistsError):
                        os.link(path, self.store / f"{path.name}.{sha256(path)}")

    def close(self) -> None:
        """Store new programs, and remove the folder of this process."""
        if os.getpid() == self.process:
            self.keep()
            shutil.rmtree(self.own, ignore_errors=True)


@functools.cache
def opened() -> Cache | None:
    """Return the cache of this process, which is closed when the process ends; None if it is disabled.

    Raises:
        UsageError: if the folder that :data:`VARIABLE` names cannot be used.
    """
    given = os.environ.get(VARIABLE, "")
    flags = os.environ.get(FLAGS, "")
    if given == "off" or FLAG in flags or not (flags or "-").lstrip().startswith("-"):  # or a file's name
        return None
    try:
        root = Path(given) if given else users_cache()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_private(root)
        if shutil.disk_usage(root).free < FREE:
            raise OSError(f"less than {FREE >> 20} MiB are free")
        cache = _opened(root)
    except OSError as error:
        if not given:
            return None
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{VARIABLE}={given}: no programs can be kept there ({reason}); name another folder, or off"
        ) from error
    atexit.register(cache.close)
    return cache


@contextlib.contextmanager
def flagged() -> Iterator[None]:
    """Let XLA use the cache of this process, if there is one; TensorFlow is imported within this context.

    The environment is restored afterwards, because runs record it and child processes inherit it.
    """
    cache, before = opened(), os.environ.get(FLAGS)
    if cache is None:
        yield
        return
    os.environ[FLAGS] = f'{before or ""} {FLAG}="{cache.own}"'.lstrip()
    try:
        yield
        # XLA reads its flags when the first of them is asked for.
        from tensorflow.python.client import pywrap_tf_session

        pywrap_tf_session.TF_GetXlaConstantFoldingDisabled()
    finally:
        os.environ.pop(FLAGS)
        os.environ.update({} if before is None else {FLAGS: before})


def in_use() -> Cache | None:
    """Return the cache that TensorFlow was imported with; None if there is none."""
    return opened() if opened.cache_info().currsize else None


def keep() -> None:
    """Store what this process has compiled so far, so that it remains if the process is killed."""
    cache = in_use()
    if cache is not None:
        cache.keep()


def _opened(root: Path) -> Cache:
    """Return a cache in a folder, with all programs whose content matches the digest in their name."""
    store = root / _digest()
    store.mkdir(mode=0o700, exist_ok=True)
    _trim(root)
    own = Path(tempfile.mkdtemp(prefix=IN_USE, dir=store))
    # Never closed: the lock is released when the process ends, for whatever reason.
    fcntl.flock(os.open(own, os.O_RDONLY), fcntl.LOCK_SH)
    for path in store.glob("*.pb.*"):
        name, _, content = path.name.rpartition(".")
        with contextlib.suppress(FileNotFoundError):  # another process has removed it
            os.link(path, own / name)
            if sha256(own / name) != content:
                (own / name).unlink()
                path.unlink()
    return Cache(store, own, os.getpid())


def _trim(root: Path) -> None:
    """Remove the folders of processes that were killed, and the oldest programs beyond :data:`LARGEST`."""
    for folder in root.glob(f"*/{IN_USE}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > YOUNG and _is_left(folder):
                shutil.rmtree(folder)
    total = 0
    found = [(path.stat(), path) for path in root.glob("*/*.pb.*")]
    for stat, path in sorted(found, key=lambda pair: -pair[0].st_mtime):
        total += stat.st_size
        if total > LARGEST:
            path.unlink(missing_ok=True)


def _is_left(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _require_private(root: Path) -> None:
    """Raise OSError if other users may write programs into a folder, because these would be executed."""
    status = root.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise OSError("the folder has to be yours, and nobody else may write to it")


def _digest() -> str:
    """Return a digest of all that makes XLA compile a program differently."""
    known = code.sources({})
    ours = [pair for pair in known["files"].items() if pair[0].startswith(f"{code.OURS[1]}/")]
    given = sorted(os.environ.items())
    flags = [pair for pair in given if pair[0].startswith(PREFIXES) and pair[0] != processor.CLUSTER]
    parts = known["libraries"], ours, flags, processor.described("model name"), processor.described("flags")
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

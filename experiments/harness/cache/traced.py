"""What trainers of this process store for later ones: traced programs, and the checks of their derivatives.

They are files in the cache of compiled programs, because tracing takes as long as reading a compiled program.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from ..runs import code, identity
from ..runs.files import write_bytes
from . import compiled

SUFFIX = ".pb"
"""The end of file names, as for the programs of XLA."""


class Stored:
    """The results of trainers of one code and configuration, except seed and iterations, by their keys.

    Args:
        cache: the cache of this process.
        config: the resolved configuration. The code of the user's packages counts, too.
    """

    def __init__(self, cache: compiled.Cache, config: dict[str, Any]) -> None:
        training = {**config.get("training", {}), "iterations": 0}
        alike = identity.training({**config, "seed": 0, "training": training})
        given = alike, sorted(code.sources(config)["files"].items())
        self._folder = cache.own
        self._begin = f"traced-{hashlib.sha256(repr(given).encode()).hexdigest()[:16]}-"

    def get(self, key: str, /) -> bytes | None:
        """Return what is stored for a key, or None."""
        try:
            return self._path(key).read_bytes()
        except OSError:
            return None

    def __setitem__(self, key: str, content: bytes, /) -> None:
        with contextlib.suppress(OSError):  # as on a full disk
            write_bytes(self._path(key), content)

    def _path(self, key: str) -> Path:
        return self._folder / f"{self._begin}{key}{SUFFIX}"


def stored(config: dict[str, Any]) -> Stored | None:
    """Return the results that are stored for a configuration; None if this process has no cache."""
    cache = compiled.in_use()
    return None if cache is None else Stored(cache, config)

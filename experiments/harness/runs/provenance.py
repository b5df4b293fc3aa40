"""Comparison of the code of a run, as recorded in its manifest, with the present code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import code
from .files import write_bytes
from .identity import Config


def latest(manifest: Config) -> Any:
    """Return the code with which a run was last resumed or started."""
    entries = [entry for entry in manifest["resumed"] if isinstance(entry, dict)]
    return next((entry["code"] for entry in reversed(entries) if "code" in entry), manifest.get("code"))


def changes(config: Config, manifest: Config) -> list[str]:
    """Return the differences between the present code and that of the last resumption, a line for each."""
    return code.changes(latest(manifest), code.sources(config))


def keep_uncommitted(path: Path, config: Config) -> None:
    """Write the uncommitted changes of the code, if there are any, in addition to those of earlier starts."""
    text = code.uncommitted(config)
    if text:
        earlier = len(list(path.parent.glob(f"{path.stem}*{path.suffix}")))
        place = path.with_stem(f"{path.stem}-{earlier + 1}") if earlier else path
        write_bytes(place, f"{text}\n".encode(errors="replace"))

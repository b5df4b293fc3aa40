"""The code that a run was made by, as its manifest has it, against the code of now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import code
from .files import write_bytes
from .identity import Config


def latest(manifest: Config) -> Any:
    """Return the code that a run was last gone on with."""
    entries = [entry for entry in manifest["resumed"] if isinstance(entry, dict)]
    return next((entry["code"] for entry in reversed(entries) if "code" in entry), manifest.get("code"))


def changes(config: Config, manifest: Config) -> list[str]:
    """Return what is other in the code of now than in that which a run was last gone on with, a line each."""
    return code.changes(latest(manifest), code.sources(config))


def keep_uncommitted(path: Path, config: Config) -> None:
    """Write the changes to the code since its last commit, if any, beside those of earlier starts."""
    text = code.uncommitted(config)
    if text:
        earlier = len(list(path.parent.glob(f"{path.stem}*{path.suffix}")))
        place = path.with_stem(f"{path.stem}-{earlier + 1}") if earlier else path
        write_bytes(place, f"{text}\n".encode(errors="replace"))

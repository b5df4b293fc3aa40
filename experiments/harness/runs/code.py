"""The code that makes a run: a digest of every source file, and what is other now than it was then."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]

OURS = ("experiments", "metalearn")

APART = ("experiments/harness/audit", "experiments/harness/benchmark", "experiments/harness/report")
"""Of ours, what no training imports."""

LIBRARIES = ("tensorflow", "keras", "numpy")
"""Packages of others whose version is part of the code."""

UNTRACKED_SUFFIXES = (".py", ".yaml", ".yml", ".cfg", ".toml")

UNTRACKED_BYTES, UNTRACKED_FILES = 1_000_000, 200
"""Largest untracked file that is kept with a run, and most of them."""

SHOWN = 5
"""Differences that a message names."""

Code = dict[str, Any]


def describe(config: Any) -> Code:
    """Return the code that a run of ``config`` is made by, here and now, as plain data.

    Args:
        config: a resolved configuration. Packages that it names under ``_target_`` are code of the run, as
            ours are: all their source files count, what they import from further packages does not.
    """
    found = sources(config)
    commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return {
        "digest": _digest(repr([sorted(part.items()) for part in found.values()]).encode()),
        "commit": commit,
        "changed": (status or "").splitlines(),
        **found,
    }


def sources(config: Any) -> Code:
    """Return what of :func:`describe` decides on results: versions of libraries, and digests of files."""
    packages = {*OURS, *(target.partition(".")[0] for target in _targets(config))} - {*LIBRARIES}
    return {
        "libraries": {name: _version(name) for name in LIBRARIES},
        "files": dict(pair for package in sorted(packages) for pair in _files(package)),
    }


def changes(then: Any, now: Code) -> list[str]:
    """Return what differs between the code of a run and another one, a line each; empty if nothing does.

    Args:
        then: what a manifest holds, which may be anything.
        now: as of :func:`sources` or :func:`describe`.
    """
    known = isinstance(then, dict) and all(isinstance(then.get(key), dict) for key in ("files", "libraries"))
    if not known:
        return ["it is not known what code made it"]
    lines = [
        f"{name} {then['libraries'].get(name)} then, {version} now"
        for name, version in now["libraries"].items()
        if then["libraries"].get(name) != version
    ]
    before, after = then["files"], now["files"]
    for path in sorted({*before, *after}, key=str):
        if before.get(path) != after.get(path):
            how = "is new" if path not in before else "is gone" if path not in after else "changed"
            lines.append(f"{path} {how}")
    return lines


def summary(lines: list[str]) -> str:
    """Return differences in one line, the first of them named."""
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return ", ".join(lines[:SHOWN]) + more


def uncommitted() -> str:
    """Return the changes to the code since its last commit, untracked files included, as a diff.

    It is empty if there are none, or none are known. Untracked files that are not code or are large are
    left out, and so are links.
    """
    parts = [_git("diff", "HEAD") or ""]
    listed = (_git("ls-files", "--others", "--exclude-standard") or "").splitlines()
    code = [name for name in listed if name.endswith(UNTRACKED_SUFFIXES) and _is_small(ROOT / name)]
    parts += [_git("diff", "--no-index", "--", "/dev/null", name) or "" for name in code[:UNTRACKED_FILES]]
    return "\n".join(filter(None, parts))


def _is_small(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size <= UNTRACKED_BYTES


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from _targets(part)


def _files(package: str) -> Iterator[tuple[str, str]]:
    """Yield path, relative to where the package is, and digest of each of its source files."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return
    for place in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(place).rglob("*.py")):
            name = path.relative_to(Path(place).parent).as_posix()
            if not name.startswith(APART):
                yield name, _digest(path.read_bytes())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """Return what git prints; None if it fails. A difference, 1, is no failure."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, errors="replace"
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.rstrip() if done.returncode in (0, 1) else None

"""The code of a run: a digest of every source file, and the differences between then and now."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..invocation import DISTRIBUTION, HOUSE, IN_CHECKOUT

OURS = ("experiments", "metalearn")
"""Packages of this project; the first is that of this file, also where it is installed under another name."""

APART = ("experiments/tools", "experiments/harness/report")
"""Parts of this project that no training imports."""

LIBRARIES = ("tensorflow", "keras", "numpy")
"""Other packages whose version is part of the code."""

UNTRACKED_SUFFIXES = (".py", ".yaml", ".yml", ".cfg", ".toml")

UNTRACKED_BYTES, UNTRACKED_FILES = 1_000_000, 200
"""Largest size of an untracked file that is stored with a run, and largest number of such files."""

SHOWN = 5
"""Number of differences that a message names."""

Code = dict[str, Any]


def describe(config: Any) -> Code:
    """Return the code that a run of ``config`` uses in this environment, as plain data.

    Args:
        config: a resolved configuration. All source files of the packages that it names belong to the code of
            the run, as those of this project do; packages that these import do not, unless they are trusted,
            too.
    """
    found = sources(config)
    root = HOUSE.parent if IN_CHECKOUT else None
    return {
        "digest": _digest(repr([sorted(part.items()) for part in found.values()]).encode()),
        "commit": _git(root, "rev-parse", "HEAD") if root else _installed_commit(),
        "changed": ((_git(root, "status", "--porcelain") if root else None) or "").splitlines(),
        "projects": {str(place): _git(place, "rev-parse", "HEAD") for place, _ in _repositories(config)},
        **found,
    }


def sources(config: Any) -> Code:
    """Return the part of :func:`describe` that can change results: versions of libraries and file digests."""
    return {
        "libraries": {name: _version(name) for name in LIBRARIES},
        "files": dict(pair for package in (*OURS, *theirs(config)) for pair in _files(package)),
    }


def named(config: Any) -> Iterator[tuple[str, str]]:
    """Yield the path of each setting that names a function or class, and the dotted name."""
    yield from _targets(config, "")
    learner = config.get("learner") if isinstance(config, dict) else None
    if isinstance(learner, dict):
        metrics = learner.get("metrics")
        metrics = metrics if isinstance(metrics, list) else []
        for path, name in (("loss", learner.get("loss")), *(("metrics", each) for each in metrics)):
            if isinstance(name, str) and "." in name:
                yield f"learner.{path}", name


def covering(target: str, packages: Iterable[str]) -> str | None:
    """Return the package of a list that contains a dotted name; None if none of them does."""
    return next((package for package in packages if target.startswith(f"{package}.")), None)


def theirs(config: Any) -> list[str]:
    """Return the user's packages whose code a configuration runs.

    These are the packages that it names and, if there are any, all other trusted ones, which they may import.
    """
    trusted = config.get("packages", ()) if isinstance(config, dict) else ()
    tops = {covering(target, trusted) or target.partition(".")[0] for _, target in named(config)}
    found = tops - {*OURS, *LIBRARIES}
    return sorted({*found, *trusted} if found else found)


def changes(then: Any, now: Code) -> list[str]:
    """Return what differs between the code of a run and another one, a line each; empty if nothing does.

    Args:
        then: the code in a manifest, which may be anything.
        now: the result of :func:`sources` or :func:`describe`.
    """
    known = isinstance(then, dict) and all(isinstance(then.get(key), dict) for key in ("files", "libraries"))
    if not known:
        return ["the code that made it is not known"]
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
    """Return differences in one line, in which the first are named."""
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return ", ".join(lines[:SHOWN]) + more


def uncommitted(config: Any) -> str:
    """Return the changes to the code since its last commit, untracked files included, as a diff.

    It is empty if there are no changes, or if they cannot be determined. In a user's repository, only the
    packages that the configuration names are considered. Links and untracked files that are large or are not
    code are omitted.
    """
    ours = [(HOUSE.parent, HOUSE.parent)] if IN_CHECKOUT else []
    return "\n".join(filter(None, (_changes(*each) for each in (*ours, *_repositories(config)))))


def _changes(root: Path, folder: Path) -> str:
    """Return the changes in a folder of a repository, given the repository's root."""
    parts = [_git(root, "diff", "HEAD", "--", str(folder)) or ""]
    listed = (_git(root, "ls-files", "--others", "--exclude-standard", "--", str(folder)) or "").splitlines()
    code = [name for name in listed if name.endswith(UNTRACKED_SUFFIXES) and _is_small(root / name)]
    parts += [
        _git(root, "diff", "--no-index", "--", "/dev/null", name) or "" for name in code[:UNTRACKED_FILES]
    ]
    return "\n".join(filter(None, parts))


def _repositories(config: Any) -> Iterator[tuple[Path, Path]]:
    """Yield root and folder of each package of the user's in a Git repository other than this project's."""
    for package in theirs(config):
        for place in _places(package):
            folder = place if place.is_dir() else place.parent
            root = Path(_git(folder, "rev-parse", "--show-toplevel") or "/")
            known = _git(folder, "ls-files", "--cached", "--others", "--exclude-standard", "--", str(place))
            if known and root != HOUSE.parent:
                yield root, place


def _is_small(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size <= UNTRACKED_BYTES


def _targets(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield f"{path}._target_", node["_target_"]
        for key, part in node.items():
            yield from _targets(part, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, part in enumerate(node):
            yield from _targets(part, f"{path}[{index}]")


def _files(package: str) -> Iterator[tuple[str, str]]:
    """Yield name, which starts with the package's name, and digest of each source file of a package."""
    base = package.replace(".", "/")
    for place in _places(package):
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            name = f"{base}/{path.relative_to(place).as_posix()}" if place.is_dir() else f"{base}.py"
            if not name.startswith(APART):
                yield name, _digest(path.read_bytes())


def _places(package: str) -> list[Path]:
    """Return the folders of a package, or the file of a module, without importing it."""
    if package == OURS[0]:
        return [HOUSE]
    top, *within = package.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is None:
        return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []
    places = [Path(place, *within) for place in spec.submodule_search_locations]
    return [each for place in places for each in (place, place.with_suffix(".py")) if each.exists()]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _installed_commit() -> str | None:
    """Return the commit that was installed, if the installation was from a repository (PEP 610)."""
    try:
        text = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        return str(json.loads(text or "{}")["vcs_info"]["commit_id"])
    except (importlib.metadata.PackageNotFoundError, ValueError, KeyError):
        return None


def _git(place: Path, *arguments: str) -> str | None:
    """Return the output of git in a folder; None if it fails. The exit code 1 means a difference."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=place, capture_output=True, text=True, timeout=10, errors="replace"
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.rstrip() if done.returncode in (0, 1) else None

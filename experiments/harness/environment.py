"""What a result may depend on beside its configuration: code, packages, processor, threads, environment."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import tensorflow as tf

ROOT = Path(__file__).resolve().parents[2]

VARIABLES = ("TF_", "XLA_", "KERAS_", "OMP_", "MKL_", "CUDA_", "PYTHONHASHSEED")
"""Prefixes of environment variables that are kept: of the libraries that compute."""

SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")

LIKELY = (
    "code",
    "packages/tensorflow",
    "packages/keras",
    "packages/numpy",
    "processor",
    "threads",
    "environment",
    "python",
)
"""What most often makes two runs of one configuration differ, first."""

Description = dict[str, Any]


def describe() -> Description:
    """Return what results may depend on here and now, as plain data."""
    return {
        "code": _code(),
        "packages": dict(
            sorted(
                (found.name.lower(), found.version)
                for found in importlib.metadata.distributions()
                if found.name
            )
        ),
        "python": platform.python_version(),
        "processor": {
            "model": _processor("model name"),
            "flags": _processor("flags"),
            "cores": os.cpu_count(),
        },
        "threads": {
            "intra": tf.config.threading.get_intra_op_parallelism_threads(),
            "inter": tf.config.threading.get_inter_op_parallelism_threads(),
        },
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(VARIABLES) and not any(word in name for word in SECRET)
        },
        "system": platform.platform(),
    }


def uncommitted() -> str:
    """Return the changes to the code since its last commit, as a diff; empty if none are known."""
    return _git("diff", "HEAD") or ""


def differences(then: Description, now: Description) -> list[str]:
    """Return what two descriptions differ in, a line each, the most likely cause of other results first."""
    before, after = _flat(then), _flat(now)
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]

    def rank(key: str) -> int:
        return next((place for place, prefix in enumerate(LIKELY) if key.startswith(prefix)), len(LIKELY))

    return [
        f"{key}: {before.get(key, 'none')} then, {after.get(key, 'none')} now"
        for key in sorted(changed, key=lambda key: (rank(key), key))
    ]


def _flat(node: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(node, dict):
        return {prefix: str(node)}
    parts = [_flat(value, f"{prefix}/{key}" if prefix else str(key)) for key, value in node.items()]
    return {key: value for part in parts for key, value in part.items()}


def _code() -> dict[str, Any] | None:
    commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return None if commit is None else {"commit": commit, "changed": (status or "").splitlines()}


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10
        ).stdout.rstrip()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _processor(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")

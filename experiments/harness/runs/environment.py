"""The environment of a result: code, packages, processor, threads and environment variables."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import tensorflow as tf

from . import code, processor

VARIABLES = ("TF_", "XLA_", "KERAS_", "OMP_", "MKL_", "CUDA_", "PYTHONHASHSEED")
"""Prefixes of the recorded environment variables, those of the numerical libraries."""

SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")

LIKELY = ("processor", "threads", "environment", "python", "packages")
"""Keys of the description, ordered by how often they are the cause of different results."""

Description = dict[str, Any]


def describe(config: Any) -> Description:
    """Return all properties of the environment that results may depend on, as plain data."""
    return {
        "code": code.describe(config),
        "packages": _packages(),
        "python": platform.python_version(),
        "processor": {
            "model": processor.described("model name"),
            "flags": processor.described("flags"),
            "cores": os.cpu_count(),
        },
        "threads": {
            "intra": tf.config.threading.get_intra_op_parallelism_threads(),
            "inter": tf.config.threading.get_inter_op_parallelism_threads(),
        },
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(VARIABLES) and not any(word in name for word in (*SECRET, processor.CLUSTER))
        },
        "system": platform.platform(),
    }


def _packages() -> dict[str, str]:
    """Return name and version of each installed package."""
    # Not found.name and found.version, each of which reads the file again.
    heads = (found.metadata for found in importlib.metadata.distributions())
    return dict(sorted((head["Name"].lower(), head["Version"]) for head in heads if head["Name"]))


def differences(then: Description, now: Description) -> list[str]:
    """Return the differences between two descriptions, a line for each, the most likely cause first.

    The code is first, and is compared in the same way as when a run is shown or resumed.
    """
    before, after = (_flat({**each, "code": None}) for each in (then, now))
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]

    def rank(key: str) -> int:
        return next((place for place, prefix in enumerate(LIKELY) if key.startswith(prefix)), len(LIKELY))

    return code.changes(then.get("code"), now["code"]) + [
        f"{key}: {before.get(key, 'none')} then, {after.get(key, 'none')} now"
        for key in sorted(changed, key=lambda key: (rank(key), key))
    ]


def _flat(node: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(node, dict):
        return {prefix: str(node)}
    parts = [_flat(value, f"{prefix}/{key}" if prefix else str(key)) for key, value in node.items()]
    return {key: value for part in parts for key, value in part.items()}

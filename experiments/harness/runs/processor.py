"""Where a process runs: its processor and the variable with its place in a cluster."""

from __future__ import annotations

import platform
from pathlib import Path

CLUSTER = "TF_CONFIG"
"""The variable with the addresses of workers, which differ in every run and affect no program or result."""


def described(field: str) -> str:
    """Return a field of the first processor, such as ``"model name"`` or ``"flags"``; empty if unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")

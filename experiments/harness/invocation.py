"""The command line that a process was started with, to say how to go on."""

from __future__ import annotations

import os
import shlex
import sys

COMMAND = "METALEARN_COMMAND"
"""The environment variable that tells the processes of a sweep what the user typed."""


def command() -> str:
    """Return the command line that the user typed, in whichever process of it."""
    return os.environ.get(COMMAND) or typed()


def typed() -> str:
    """Return the command line of this process."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", module.name] if module else ["python", sys.argv[0]]
    return shlex.join([*program, *sys.argv[1:]])

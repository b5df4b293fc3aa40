"""The command line of this process, and those of other commands, for messages."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import sys
from pathlib import Path

COMMAND = "METALEARN_COMMAND"
"""The environment variable with the command line of the user, for the processes of a sweep."""

DISTRIBUTION, SCRIPT = "metalearn-tf", "metalearn"
"""The name of the installed package, and its command."""

HOUSE = Path(__file__).resolve().parents[1]
"""The folder of this package: ``experiments`` in a checkout, ``metalearn_experiments`` if installed."""

IN_CHECKOUT = (HOUSE.parent / "setup.cfg").is_file()


def command() -> str:
    """Return the command line that the user typed, also in a process of a sweep."""
    return os.environ.get(COMMAND) or shlex.join(sys.argv)


def resuming() -> str:
    """Return the command line that continues what this one has begun: it does not start a new run."""
    words = shlex.split(command())
    return shlex.join(word for word in words if not word.lstrip("+").startswith("run.fresh="))


def program(name: str) -> list[str]:
    """Return the words that start a command, in the way in which this process was started."""
    script = Path(getattr(sys.modules["__main__"], "__file__", None) or "").name
    return [SCRIPT, name] if script == SCRIPT else ["python", "-m", f"{__name__.partition('.')[0]}.{name}"]


def installation(extra: str) -> str:
    """Return the command that installs the packages of an extra."""
    if IN_CHECKOUT:
        return f"pip install -e '.[{extra}]'"
    wanted = [line.partition(";") for line in importlib.metadata.requires(DISTRIBUTION) or []]
    marked = re.compile(rf"extra\s*==\s*['\"]{extra}['\"]")
    return shlex.join(["pip", "install", *(name.strip() for name, _, mark in wanted if marked.search(mark))])

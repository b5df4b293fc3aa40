"""How this process was started, and how the user starts others: to say how to go on."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import sys
from pathlib import Path

COMMAND = "METALEARN_COMMAND"
"""The environment variable that tells the processes of a sweep what the user typed."""

DISTRIBUTION, SCRIPT = "metalearn-tf", "metalearn"
"""What this is called where it is installed, and its command."""

HOUSE = Path(__file__).resolve().parents[1]
"""The folder of this package: ``experiments`` in a checkout, ``metalearn_experiments`` if installed."""

IN_CHECKOUT = (HOUSE.parent / "setup.cfg").is_file()


def command() -> str:
    """Return the command line that the user typed, in whichever process of it."""
    return os.environ.get(COMMAND) or shlex.join(sys.argv)


def program(name: str) -> list[str]:
    """Return the words that call a command of ours in the way that this process was called."""
    script = Path(getattr(sys.modules["__main__"], "__file__", None) or "").name
    return [SCRIPT, name] if script == SCRIPT else ["python", "-m", f"{__name__.partition('.')[0]}.{name}"]


def installation(extra: str) -> str:
    """Return the command that installs what an extra of ours brings: by its name in a checkout alone."""
    if IN_CHECKOUT:
        return f"pip install -e '.[{extra}]'"
    wanted = [line.partition(";") for line in importlib.metadata.requires(DISTRIBUTION) or []]
    marked = re.compile(rf"extra\s*==\s*['\"]{extra}['\"]")
    return shlex.join(["pip", "install", *(name.strip() for name, _, mark in wanted if marked.search(mark))])

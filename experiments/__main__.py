"""The console command: ``metalearn train``, ``metalearn evaluate``, ...; ``python -m experiments train``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from .harness.app.application import complain, run_application
from .harness.console import console
from .harness.errors import BAD_INPUT, nearest

COMMANDS = ("train", "evaluate", "reproduce", "report", "check_gradients", "audit_keras", "benchmark")

COMPLETION = ("-sc", "--shell_completion", "--shell-completion")


def main() -> None:
    """Run the command that the first argument names, with the remaining arguments."""
    arguments = sys.argv[1:]
    if arguments[:1] in ([], ["-h"], ["--help"]):
        console.print(_help(), markup=False)
        sys.exit(0 if arguments else BAD_INPUT)
    if arguments[0] in ("-v", "--version"):
        console.print(f"metalearn {importlib.import_module('metalearn').__version__}", markup=False)
        sys.exit(0)
    if arguments[0] in COMPLETION:
        arguments = _completed(arguments)
    name, *rest = arguments
    if name not in COMMANDS:
        sys.exit(complain(f"there is no command {name}{nearest(name, COMMANDS)}").code)
    sys.argv[1:] = rest
    run_application(_module(name).main, name)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f".{name}", __package__)


def _help() -> str:
    lines = [f"  {name:<16} {str(_module(name).__doc__).partition(':')[0]}" for name in COMMANDS]
    usage = "usage: metalearn <command> [group=option] [setting=value]; metalearn <command> --help says more"
    return "\n".join([usage, "", *lines])


def _completed(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of the command that completes the shell's line.

    The shell calls this program for all commands. The command's name is taken from the line, and folders of
    configuration on the line are passed on.
    """
    if not any(word.startswith("query=") for word in arguments):
        return ["train", *arguments]  # installs completion for all of them
    line = os.environ.get("COMP_LINE", "")
    words = line.split()[1:]
    if not words or (len(words) == 1 and not line.endswith(" ")):
        print(" ".join(COMMANDS))  # noqa: T201
        sys.exit(0)
    os.environ["COMP_LINE"] = line.replace(f" {words[0]}", "", 1)
    folders = [word for word in words if word.startswith(("--config-dir=", "-cd="))]
    return [words[0], *arguments, *folders]


if __name__ == "__main__":
    main()

"""Lines in the terminal: text from runs and users is shown literally, never as markup or control codes."""

from __future__ import annotations

import contextlib
import re
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False, soft_wrap=True)

CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)
"""Characters that move the cursor, colour or reorder text, or cannot be encoded; no new lines and tabs."""


def say(text: str, lead: str = "", style: str = "bold", to: Console = console) -> None:
    """Print a line, preceded by ``lead`` in a style."""
    to.print(Text.assemble((clean(lead), style), " " if lead and text else "", clean(text)))


def say_error(text: str, lead: str = "") -> None:
    """Print a line to the standard error."""
    say(text, lead, "bold red", Console(stderr=True, highlight=False, soft_wrap=True))


def clean(text: str) -> str:
    """Return text in which control characters of a terminal are replaced by escapes."""
    return CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def cell(text: str, style: str = "") -> Text:
    """Return text for a table's cell, without markup."""
    return Text(clean(text), style=style)


def print_table(table: Table, width: int) -> None:
    """Print a table on lines of at least ``width`` characters; a narrow terminal does not cut numbers."""
    Console(highlight=False, width=max(console.width, width)).print(table)


def accept_any_text() -> None:
    """Let output that cannot encode a character, as in ASCII, show an escape instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # what replaces them may not have it
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]

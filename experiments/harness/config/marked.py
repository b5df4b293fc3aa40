"""A generated table inside a page, between two marks with its name."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from ..runs.files import MIB, read_bytes, write_bytes

LARGEST = 64 * MIB
"""Largest number of bytes of a page."""


def marks(name: str) -> tuple[str, str]:
    """Return the two marks."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def write(path: Path, name: str, table: str) -> None:
    """Replace the text between the marks by ``table``.

    Raises:
        UsageError: as :func:`require_place`.
    """
    before, after = require_place(path, name)
    begin, end = marks(name)
    write_bytes(path, f"{before}{begin}\n{table}{end}{after}".encode())


def require_place(path: Path, name: str) -> tuple[str, str]:
    """Return the text of a file before and after the marks.

    Raises:
        UsageError: unless it can be read and has each mark once, in order.
    """
    begin, end = marks(name)
    try:
        text = read_bytes(path, LARGEST).decode()
    except (OSError, ValueError) as error:
        raise UsageError(f"write={path} cannot be read: {getattr(error, 'strerror', error)}") from error
    before, _, rest = text.partition(begin)
    between, found, after = rest.partition(end)
    if not found or begin in between + after or end in before + after:
        raise UsageError(
            f"write={path}: no place for the table; the file needs {begin} and, below, {end}, once each"
        )
    return before, after

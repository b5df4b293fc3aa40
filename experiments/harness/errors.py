"""Exit codes of all commands, and the error whose message is for the user."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

FAILED = 1

BAD_INPUT = 2

INTERRUPTED = 130


class UsageError(Exception):
    """Input that cannot be used; the message names the thing, the value and the remedy."""


def nearest(word: str, choices: Sequence[str]) -> str:
    """Return a hint ``" (did you mean x, y?)"``, or the choices themselves when nothing is near."""
    near = difflib.get_close_matches(word, choices, n=3, cutoff=0.6)
    if near:
        return f" (did you mean {', '.join(near)}?)"
    return f" (there is {', '.join(sorted(choices))})" if len(choices) <= 20 else ""

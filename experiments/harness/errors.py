"""Exit codes of all commands, and the exception whose message is shown to the user."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

FAILED = 1

BAD_INPUT = 2

INTERRUPTED = 130

NEAR, APART, ABBREVIATED = 0.6, 0.15, 0.9
"""Least similarity of a suggestion, largest difference to the best suggestion, and value of an
abbreviation."""


class UsageError(Exception):
    """Input that cannot be used; the message names the setting, the value and the remedy."""


def nearest(word: str, choices: Sequence[str]) -> str:
    """Return a hint ``" (did you mean x, y?)"``, or the choices themselves if none is similar.

    For choices in a section, such as ``rule.learning_rate``, the name alone or an abbreviation is sufficient.
    """
    likeness = {choice: _likeness(word, choice) for choice in choices}
    least = max([NEAR, *(each - APART for each in likeness.values())])
    near = sorted((choice for choice in likeness if likeness[choice] >= least), key=lambda c: -likeness[c])
    if near:
        return f" (did you mean {', '.join(near[:3])}?)"
    return f" (there is {', '.join(sorted(choices))})" if len(choices) <= 20 else ""


def _likeness(word: str, choice: str) -> float:
    """Return the similarity from 0 to 1, where a section counts for a third unless the word has none."""
    (given, name), (section, full) = (_parted(each) for each in (word, choice))
    alike = max(_ratio(name, full), ABBREVIATED * _abbreviates(name, full))
    if given:
        return 0.7 * alike + 0.3 * _ratio(given, section)
    return 0.95 * alike if section else alike


def _parted(path: str) -> tuple[str, str]:
    section, _, name = path.lstrip("+~").lower().replace("/", ".").rpartition(".")
    return section, name


def _ratio(first: str, second: str) -> float:
    return difflib.SequenceMatcher(None, first, second).ratio()


def _abbreviates(name: str, full: str) -> bool:
    """Return whether a name consists of words of another, their first letters, or letters in order."""
    words = full.split("_")
    if set(name.split("_")) <= set(words):
        return True
    if len(name) < 4:
        return len(name) > 1 and (name in "".join(word[:1] for word in words) or full.startswith(name))
    letters = iter(full)
    return name[0] == full[:1] and all(letter in letters for letter in name)

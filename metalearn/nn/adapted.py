"""Which parameters the inner loop moves: a small language over their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from metalearn.types import Parameters

CONTEXT = "context"
"""Parameters with this name in their key are context: they start every task from zero, see CAVIA."""


def is_context(key: str) -> bool:
    """Say whether a parameter is context."""
    return CONTEXT in key.split("/")


def _head(keys: list[str]) -> set[str]:
    """Return the keys of the last layer that has any, context aside."""
    layers = [key.rpartition("/")[0] for key in keys if not is_context(key)]
    return {key for key in keys if not is_context(key) and key.rpartition("/")[0] == layers[-1]}


NAMES: dict[str, Callable[[list[str]], set[str]]] = {
    "all": set,
    "head": _head,
    "body": lambda keys: {key for key in keys if not is_context(key)} - _head(keys),
    "context": lambda keys: {key for key in keys if is_context(key)},
}


def select(pattern: str, keys: Iterable[str]) -> list[str]:
    """Return the keys that a pattern chooses, in their order.

    =========  =================================================================
    all        every parameter
    head       those of the last layer that has parameters
    body       the others, without context
    context    those with ``context`` as a part of their key
    a glob     such as ``hidden_0/*`` or ``*/bias``; ``*`` also matches ``/``
    ``a|b``    what any of several patterns chooses
    =========  =================================================================

    Args:
        pattern: as in the table.
        keys: of a model's parameters, in the order of its layers.

    Raises:
        ValueError: if a part of the pattern chooses nothing, with the keys there are.
    """
    keys = list(keys)
    chosen: set[str] = set()
    for part in pattern.split("|"):
        matches = NAMES[part](keys) if part in NAMES else {key for key in keys if fnmatchcase(key, part)}
        if not matches:
            raise ValueError(
                f"adapted={pattern!r}: {part!r} matches none of the parameters {keys}; "
                f"there are {', '.join(NAMES)}, globs over these keys, and several with | between"
            )
        chosen |= matches
    return [key for key in keys if key in chosen]


def partition(parameters: Parameters, chosen: Iterable[str]) -> tuple[Parameters, Parameters]:
    """Split into the chosen and the rest, each in its order; ``{**rest, **chosen}`` is the whole again."""
    keys = set(chosen)
    return (
        {key: value for key, value in parameters.items() if key in keys},
        {key: value for key, value in parameters.items() if key not in keys},
    )

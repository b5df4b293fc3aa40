"""Which parameters the inner loop moves: a small language over their keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

import keras

from metalearn.nn import functional
from metalearn.nn.names import layer_of, named_variables
from metalearn.nn.outputs import output_keys
from metalearn.types import Parameters

CONTEXT = "context"
"""Parameters with this name in their key are context: they start every task from zero, see CAVIA."""

NAMES = ("all", "head", "body", "context")


def is_context(key: str) -> bool:
    """Say whether a parameter is context."""
    return CONTEXT in key.split("/")


def select_from(model: keras.Model, pattern: str) -> list[str]:
    """Return the keys of a model's parameters that a pattern chooses, in their order.

    As :func:`select`, where the head is what the model's outputs come from, by its graph: the layers whose
    parameters meet the data last on the way to any of the outputs. Context is no head.

    Args:
        model: a built model.
        pattern: as for :func:`select`.

    Raises:
        ValueError: if a part of the pattern chooses nothing; if a glob means one thing by the keys and
            another by the names that Keras gives, which happens to names such as ``dense_2`` that Keras may
            have numbered itself; or if the head is not to be found; each with the keys there are.
    """
    given = {named.key: named.given for named in named_variables(model)}
    keys = list(functional.parameters(model))
    for part in pattern.split("|"):
        by_key = [key for key in keys if fnmatchcase(key, part)]
        by_name = [key for key in keys if fnmatchcase(given[key], part)]
        if part not in NAMES and by_name and by_key != by_name:
            raise ValueError(
                f"adapted={pattern!r}: {part!r} is ambiguous. Names that Keras may have made are numbered by "
                f"their order within the model: it chooses {by_key} by key, and {by_name} by name. The keys, "
                f"and names where they differ, are {_spelled(keys, given)}: give the layers names of another "
                "form than Keras does, such as hidden_2"
            )
    wanted = {"head", "body"} & set(pattern.split("|"))
    return select(pattern, keys, head=_head_of(model, pattern, keys) if wanted else None)


def select(pattern: str, keys: Iterable[str], head: Collection[str] | None = None) -> list[str]:
    """Return the keys that a pattern chooses, in their order.

    =========  =================================================================
    all        every parameter
    head       those of the layers that the outputs come from
    body       the others, without context
    context    those with ``context`` as a part of their key
    a glob     such as ``hidden_0/*`` or ``*/bias``; ``*`` also matches ``/``
    ``a|b``    what any of several patterns chooses
    =========  =================================================================

    Args:
        pattern: as in the table.
        keys: of a model's parameters, in the order of its layers.
        head: keys of the head; those of the last layer that has any, context aside, if not given.

    Raises:
        ValueError: if a part of the pattern chooses nothing, with the keys there are.
    """
    keys = list(keys)
    last = _last_layer(keys) if head is None else set(head)
    named = {
        "all": set(keys),
        "head": last,
        "body": {key for key in keys if not is_context(key)} - last,
        "context": {key for key in keys if is_context(key)},
    }
    chosen: set[str] = set()
    for part in pattern.split("|"):
        matches = named[part] if part in NAMES else {key for key in keys if fnmatchcase(key, part)}
        if not matches:
            raise ValueError(
                f"adapted={pattern!r}: {part!r} matches none of the parameters {keys}; "
                f"there are {', '.join(NAMES)}, globs over these keys, and several with | between"
            )
        chosen |= matches
    return [key for key in keys if key in chosen]


def _last_layer(keys: list[str]) -> set[str]:
    layers = [layer_of(key) for key in keys if not is_context(key)]
    return {key for key in keys if layers and not is_context(key) and layer_of(key) == layers[-1]}


def _head_of(model: keras.Model, pattern: str, keys: list[str]) -> list[str]:
    try:
        return output_keys(model, [key for key in keys if not is_context(key)])
    except ValueError as error:
        raise ValueError(
            f"adapted={pattern!r}: which layers the outputs of model {model.name!r} come from is not to be "
            f"found ({error}). Choose by globs over the keys: {keys}"
        ) from error


def _spelled(keys: list[str], given: dict[str, str]) -> str:
    return ", ".join(key if key == given[key] else f"{key} (named {given[key]})" for key in keys)


def partition(parameters: Parameters, chosen: Iterable[str]) -> tuple[Parameters, Parameters]:
    """Split into the chosen and the rest, each in its order; ``{**rest, **chosen}`` is the whole again."""
    keys = set(chosen)
    return (
        {key: value for key, value in parameters.items() if key in keys},
        {key: value for key, value in parameters.items() if key not in keys},
    )

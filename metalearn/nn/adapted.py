"""Selection of the parameters that the inner loop updates, by patterns over their keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

import keras

from metalearn.nn import functional
from metalearn.nn.names import layer_of, named_variables
from metalearn.nn.outputs import output_keys
from metalearn.types import Parameters

CONTEXT = "context"
"""Parameters with this name in their key are context parameters, which start from zero in every task."""

NAMES = ("all", "head", "body", "context")


def is_context(key: str) -> bool:
    """Return whether a parameter is a context parameter."""
    return CONTEXT in key.split("/")


def select_from(model: keras.Model, pattern: str) -> list[str]:
    """Return the keys of a model's parameters that a pattern selects, in their order.

    It is :func:`select` with the head of the model's graph: the last layers with parameters on the paths to
    the outputs. Context parameters are not part of the head.

    Args:
        model: a built model.
        pattern: as for :func:`select`.

    Raises:
        ValueError: if a part of the pattern selects nothing; if a glob matches different parameters by their
            keys and by the names in Keras, as for names like ``dense_2`` that Keras may have generated; or if
            the head cannot be found. The message contains the keys.
    """
    given = {named.key: named.given for named in named_variables(model)}
    keys = list(functional.parameters(model))
    for part in pattern.split("|"):
        by_key = [key for key in keys if fnmatchcase(key, part)]
        by_name = [key for key in keys if fnmatchcase(given[key], part)]
        if part not in NAMES and by_name and by_key != by_name:
            raise ValueError(
                f"adapted={pattern!r}: {part!r} is ambiguous. Names that Keras may have made are numbered by "
                f"their order within the model: it selects {by_key} by key, but {by_name} by name. The keys, "
                f"and names where they differ, are {_spelled(keys, given)}: give the layers names of another "
                "form than those of Keras, such as hidden_2"
            )
    wanted = {"head", "body"} & set(pattern.split("|"))
    return select(pattern, keys, head=_head_of(model, pattern, keys) if wanted else None)


def select(pattern: str, keys: Iterable[str], head: Collection[str] | None = None) -> list[str]:
    """Return the keys that a pattern selects, in their order.

    =========  =================================================================
    all        every parameter
    head       those of the last layers before the outputs
    body       the others, without context parameters
    context    those with ``context`` as a part of their key
    a glob     such as ``hidden_0/*`` or ``*/bias``; ``*`` also matches ``/``
    ``a|b``    the union of several patterns
    =========  =================================================================

    Args:
        pattern: as in the table.
        keys: the keys of a model's parameters, in the order of its layers.
        head: the keys of the head; by default those of the last layer with parameters, except context.

    Raises:
        ValueError: if a part of the pattern selects nothing. The message contains the keys.
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
                f"use {', '.join(NAMES)}, globs over these keys, or several of them separated by |"
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
            f"adapted={pattern!r}: the last layers before the outputs of model {model.name!r} cannot be "
            f"found ({error}). Use globs over the keys: {keys}"
        ) from error


def _spelled(keys: list[str], given: dict[str, str]) -> str:
    return ", ".join(key if key == given[key] else f"{key} (named {given[key]})" for key in keys)


def partition(parameters: Parameters, chosen: Iterable[str]) -> tuple[Parameters, Parameters]:
    """Split into the chosen parameters and the rest, each in their order."""
    keys = set(chosen)
    return (
        {key: value for key, value in parameters.items() if key in keys},
        {key: value for key, value in parameters.items() if key not in keys},
    )

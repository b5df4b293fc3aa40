"""Keys of a model's variables: paths inside the model that are the same in every process.

Keras numbers automatic names with counters of the process (``dense_7``), and does not record whether a name
is automatic. A name is considered automatic if it has the form of Keras' names for that class. Automatic
names are numbered by their order within their parent (``dense``, ``dense_1``), as Keras does in a process
with a single model. All other names are kept.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras

VARIABLE = "Variable"
"""The class that determines the automatic names of variables."""

WRAPPERS = ("", "forward_", "backward_")
"""The prefixes that ``Bidirectional`` adds to the names of its layers."""


class NamedVariable(NamedTuple):
    """A variable of a model.

    Attributes:
        key: its path with automatic names numbered by their order, unique in the model.
        given: its path with the names in Keras; not always unique.
        variable: the variable.
        owner: the innermost layer with this variable.
    """

    key: str
    given: str
    variable: keras.Variable
    owner: keras.Layer


def named_variables(model: keras.Model) -> list[NamedVariable]:
    """Return every variable of a built model once, depth first.

    Raises:
        ValueError: if the model has not been built.
    """
    unbuilt = [layer.name for layer in model._flatten_layers() if not layer.built]
    if unbuilt:
        raise ValueError(
            f"model {model.name!r} is not built (layers without variables yet: {', '.join(unbuilt)}): "
            "call it once on an input, or give it a keras.Input"
        )
    return list(_walk(model, "", "", set()))


def layer_of(key: str) -> str:
    """Return the path of the layer that a variable belongs to; empty for the model itself."""
    return key.rpartition("/")[0]


def _walk(layer: keras.Layer, path: str, given: str, seen: set[int]) -> Iterator[NamedVariable]:
    children, within = [], set(seen)
    for child in layer._flatten_layers(include_self=False, recursive=False):
        if id(child) not in within:
            children.append(child)
            within.update(id(part) for part in [*child._flatten_layers(), *child.variables])
    own = [variable for variable in layer.variables if id(variable) not in within]
    names = [(child.name, type(child).__name__) for child in children]
    keys = unique_names([*names, *((variable.name, VARIABLE) for variable in own)])
    for child, key in zip(children, keys, strict=False):
        seen.add(id(child))
        yield from _walk(child, f"{path}{key}/", f"{given}{child.name}/", seen)
    for variable, key in zip(own, keys[len(children) :], strict=True):
        seen.add(id(variable))
        yield NamedVariable(path + key, given + variable.name, variable, layer)


def unique_names(names: Sequence[tuple[str, str]]) -> list[str]:
    """Return a unique name for each of several siblings.

    Args:
        names: ``(name, class name)`` of each, in order.

    Returns:
        User-defined names unchanged, with numbers for repeated ones; automatic names of one class with
        numbers from 0 as in Keras, where the first has no number.
    """
    automatic = {}
    taken: set[str] = set()
    found = [""] * len(names)
    for place, (name, kind) in enumerate(names):
        parts = _automatic(name, kind)
        if parts is None:
            found[place] = _unique(name, taken)
        else:
            automatic[place] = parts
    for place in sorted(automatic, key=lambda place: (*automatic[place], place)):
        found[place] = _unique(automatic[place][0], taken)
    return found


@functools.cache  # called for every variable in every call of a model
def _automatic(name: str, kind: str) -> tuple[str, int] | None:
    """Split an automatic name of a class: ``("dense_7", "Dense") -> ("dense", 7)``; None for other names."""
    for wrapper in WRAPPERS:
        match = re.fullmatch(rf"({wrapper}{re.escape(_snake_case(kind))})(?:_([1-9]\d*))?", name)
        if match:
            return match[1], int(match[2] or 0)
    return None


def _snake_case(kind: str) -> str:
    """Return Keras' automatic name for a class: ``"MaxPooling2D" -> "max_pooling2d"``."""
    separated = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub("([a-z])([A-Z])", r"\1_\2", separated).lower()


def _unique(name: str, taken: set[str]) -> str:
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate

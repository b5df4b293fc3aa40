"""Keys of a model's variables: paths inside the model that are the same in every process.

Keras numbers the names that it makes itself with counters of the process (``dense_7``), and keeps no record
of who chose a name. A name is taken for automatic if it has the form that Keras gives to that class;
automatic names are then numbered by their order within their parent (``dense``, ``dense_1``), which equals
Keras' own numbering in a process that made nothing else. All other names stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras

VARIABLE = "Variable"
"""The class whose automatic names an unnamed variable has."""

WRAPPERS = ("", "forward_", "backward_")
"""What ``Bidirectional`` puts before the names of its layers."""


class NamedVariable(NamedTuple):
    """A variable of a model.

    Attributes:
        key: its path with automatic names numbered by their order, unique in the model.
        given: its path with all names as Keras has them; not always unique.
        variable: the variable.
        owner: the innermost layer that it belongs to.
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
        Names that a user gave as they are, repeated ones numbered; automatic names of one kind numbered by
        Keras' count, from 0, without a number for the first.
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


def _automatic(name: str, kind: str) -> tuple[str, int] | None:
    """Split a name of the form that Keras makes for a class: ``("dense_7", "Dense") -> ("dense", 7)``."""
    for wrapper in WRAPPERS:
        match = re.fullmatch(rf"({wrapper}{re.escape(_snake_case(kind))})(?:_([1-9]\d*))?", name)
        if match:
            return match[1], int(match[2] or 0)
    return None


def _snake_case(kind: str) -> str:
    """Return what Keras makes of a class name: ``"MaxPooling2D" -> "max_pooling2d"``."""
    separated = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub("([a-z])([A-Z])", r"\1_\2", separated).lower()


def _unique(name: str, taken: set[str]) -> str:
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate

"""Nested tensors: names of their leaves, comparison of their structures, and conversion to vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metalearn.types import Structure

Operator = Callable[[Structure], Structure]
"""A linear map of nested tensors to nested tensors of the same structure, shapes and type."""


def names(structure: Structure) -> list[str]:
    """Return the path of every leaf, ``"support/inputs"``, in the order of ``tf.nest.flatten``.

    A path consists of keys of dicts, fields of named tuples, and positions in other tuples and lists.

    >>> names({"b": 1.0, "a": (2.0, 3.0)})
    ['a/0', 'a/1', 'b']
    """
    return ["/".join(map(str, _fields(structure, path))) for path in _paths(structure)]


def _paths(structure: Structure) -> list[tuple[Any, ...]]:
    return [path for path, _ in keras.tree.flatten_with_path(structure)]


def _fields(structure: Structure, path: tuple[Any, ...]) -> Iterator[Any]:
    """Yield the elements of a path, with fields instead of positions for named tuples."""
    for key in path:
        fields = getattr(structure, "_fields", None)
        yield fields[key] if fields and isinstance(key, int) else key
        structure = structure[key]


def label(name: str) -> str:
    """Return the name of a leaf for a message; the name of a structure that is a single tensor is empty."""
    return name or "the tensor itself"


def distinct(structure: Structure) -> Structure:
    """Return a structure with the same values in new tensors.

    Gradient tapes and forward accumulators distinguish tensors by identity. Without new tensors, a tensor
    that occurs as two leaves, or as a leaf and in the closure of a function, would count as one variable.

    Raises:
        ValueError: naming a leaf that is not real floating point, since it has no derivative.
    """
    copies = tf.nest.map_structure(tf.identity, structure)
    for name, leaf in zip(names(structure), tf.nest.flatten(copies), strict=True):
        if not leaf.dtype.is_floating:
            raise ValueError(
                f"{label(name)} is {leaf.dtype.name}, but only floating point has derivatives: cast it, or "
                "let the function capture it instead of taking it as an argument"
            )
    return copies


def matched(what: str, structure: Structure, like: Structure) -> Structure:
    """Return ``structure`` as tensors packed like ``like``.

    Args:
        what: the name of ``structure`` in messages.
        structure: nested tensors.
        like: nested tensors whose paths, shapes and types ``structure`` must have.

    Raises:
        ValueError: naming the leaves that are missing, unknown, or of another shape or type.
    """
    given, expected = names(structure), names(like)
    if _paths(structure) != _paths(like):
        missing, unknown = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
        raise ValueError(f"{what} does not have the expected structure: missing {missing}, unknown {unknown}")
    leaves = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(structure)]
    models = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(like)]
    differing = [
        f"{leaf.dtype.name} {leaf.shape} at {label(name)}, where {model.dtype.name} {model.shape} is needed"
        for name, leaf, model in zip(given, leaves, models, strict=True)
        if leaf.dtype != model.dtype or not leaf.shape.is_compatible_with(model.shape)
    ]
    if differing:
        raise ValueError(f"{what} has {'; '.join(differing)}")
    return tf.nest.pack_sequence_as(like, leaves)


def ravel(structure: Structure) -> tuple[tf.Tensor, Callable[[tf.Tensor], Structure]]:
    """Return nested tensors as one vector, and the inverse function.

    Args:
        structure: nested tensors of one floating type and of known shapes, ``P`` scalars in all.

    Returns:
        The vector ``[P]``, with the leaves in the order of ``tf.nest.flatten`` and each in row-major order;
        and the inverse, a function of any vector ``[P]``.

    Raises:
        ValueError: if there is no leaf, a leaf is not floating point, its shape is unknown, or leaves
            differ in type.
    """
    leaves = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(structure)]
    if not leaves:
        raise ValueError("there are no tensors in an empty structure")
    for name, leaf in zip(names(structure), leaves, strict=True):
        if not leaf.dtype.is_floating or leaf.dtype != leaves[0].dtype:
            raise ValueError(
                f"{label(name)} is {leaf.dtype.name}: one vector needs leaves of one floating type "
                f"(the first leaf is {leaves[0].dtype.name})"
            )
        if not leaf.shape.is_fully_defined():
            raise ValueError(f"{label(name)} has the shape {leaf.shape}, which must be fully known")
    shapes = [leaf.shape for leaf in leaves]
    sizes = [shape.num_elements() for shape in shapes]

    def unravel(vector: tf.Tensor) -> Structure:
        parts = tf.split(vector, sizes)
        parts = [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]
        return tf.nest.pack_sequence_as(structure, parts)

    return tf.concat([tf.reshape(leaf, [-1]) for leaf in leaves], 0), unravel


def flat(structure: Structure, axes: int = 0) -> tf.Tensor:
    """Return all leaves concatenated, keeping ``axes`` leading axes: ``[P]``, or ``[T, P]`` for one axis.

    Args:
        structure: nested tensors whose shapes after the leading axes are known. Leaves are cast to the type
            of the first. (:func:`ravel` does not cast and returns an inverse.)
        axes: the number of leading axes that all leaves share.

    Raises:
        ValueError: if there is no leaf, or a shape after the leading axes is unknown, naming the leaf.
    """
    leaves = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(structure)]
    if not leaves:
        raise ValueError("there are no tensors in an empty structure")
    rows = []
    for name, leaf in zip(names(structure), leaves, strict=True):
        if leaf.shape.rank is None or not leaf.shape[axes:].is_fully_defined():
            raise ValueError(
                f"{label(name)} has the shape {leaf.shape}, which must be known after {axes} leading axes"
            )
        # Known lengths are constants: computing shapes in the graph would take most of the time.
        leading = [-1 if size is None else size for size in leaf.shape[:axes]]
        rows.append(tf.reshape(leaf, [*leading, leaf.shape[axes:].num_elements()]))
    return tf.concat([tf.cast(row, leaves[0].dtype) for row in rows], axis=-1)


def raveled_operator(operator: Operator, like: Structure) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return an operator on nested tensors like ``like`` as a function of vectors, ``[P] -> [P]``.

    The function raises ValueError if the result of the operator does not match ``like``.
    """
    _, unravel = ravel(like)
    return lambda vector: ravel(matched("the operator's result", operator(unravel(vector)), like))[0]


def dot(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Return the inner product of two vectors, ``[P], [P] -> []``."""
    return tf.reduce_sum(left * right)


def as_type(value: float | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return a number or a tensor in ``dtype``; ``tf.cast`` rounds a Python number to float32 first."""
    return tf.cast(value, dtype) if tf.is_tensor(value) else tf.convert_to_tensor(value, dtype)


def epsilon(dtype: tf.DType) -> float:
    """Return the distance from 1 to the next larger number of a floating type."""
    return float(np.finfo(dtype.as_numpy_dtype).eps)

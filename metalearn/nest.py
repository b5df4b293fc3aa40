"""Nested tensors as points of a vector space: named, held against each other, and laid out flat."""

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
    """Return the path of every leaf, ``"support/inputs"``, in ``tf.nest.flatten``'s order.

    It is made of the keys of dicts, the fields of named tuples, and positions in other tuples and lists.
    """
    return ["/".join(map(str, _fields(structure, path))) for path in _paths(structure)]


def _paths(structure: Structure) -> list[tuple[Any, ...]]:
    return [path for path, _ in keras.tree.flatten_with_path(structure)]


def _fields(structure: Structure, path: tuple[Any, ...]) -> Iterator[Any]:
    """Yield a path with the fields of named tuples in place of positions."""
    for key in path:
        fields = getattr(structure, "_fields", None)
        yield fields[key] if fields and isinstance(key, int) else key
        structure = structure[key]


def label(name: str) -> str:
    """Return a leaf's name for a message; a structure that is one bare tensor has the empty name."""
    return name or "the tensor itself"


def distinct(structure: Structure) -> Structure:
    """Return the same values as tensors that occur nowhere else.

    Tapes and accumulators tell tensors apart by identity. A tensor that is two leaves of ``x``, or a leaf
    of ``x`` that a function also captures, would otherwise count as one variable.

    Raises:
        ValueError: naming a leaf that is not real floating point: it has no derivative.
    """
    copies = tf.nest.map_structure(tf.identity, structure)
    for name, leaf in zip(names(structure), tf.nest.flatten(copies), strict=True):
        if not leaf.dtype.is_floating:
            raise ValueError(
                f"{label(name)} is {leaf.dtype.name}, and only floating point has derivatives: cast it, or "
                "let the function capture it instead of taking it as an argument"
            )
    return copies


def matched(what: str, structure: Structure, like: Structure) -> Structure:
    """Return ``structure`` as tensors packed like ``like``.

    Args:
        what: how messages call ``structure``.
        structure: nested tensors.
        like: nested tensors that it has to equal in paths, shapes and types.

    Raises:
        ValueError: naming the leaves that are missing, unknown, or of another shape or type.
    """
    given, expected = names(structure), names(like)
    if _paths(structure) != _paths(like):
        missing, unknown = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
        raise ValueError(
            f"{what} is structured otherwise than it has to be: missing {missing}, unknown {unknown}"
        )
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
    """Lay nested tensors out as one vector.

    Args:
        structure: nested tensors of one floating type and of known shapes, ``P`` scalars in all.

    Returns:
        The vector ``[P]``, leaves in ``tf.nest.flatten``'s order and each in row-major order; and the
        inverse, which takes any vector ``[P]``.

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
            raise ValueError(f"{label(name)} has the shape {leaf.shape}, which has to be known in full")
    shapes = [leaf.shape for leaf in leaves]
    sizes = [shape.num_elements() for shape in shapes]

    def unravel(vector: tf.Tensor) -> Structure:
        parts = tf.split(vector, sizes)
        parts = [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]
        return tf.nest.pack_sequence_as(structure, parts)

    return tf.concat([tf.reshape(leaf, [-1]) for leaf in leaves], 0), unravel


def flat(structure: Structure, axes: int = 0) -> tf.Tensor:
    """Return all leaves side by side, keeping ``axes`` leading axes: ``[P]``, or ``[T, P]`` with one.

    Args:
        structure: nested tensors whose shapes behind the leading axes are known. Leaves are cast to the
            type of the first; :func:`ravel` refuses mixed types and has an inverse.
        axes: how many leading axes all leaves share.

    Raises:
        ValueError: if there is no leaf, or a shape behind the leading axes is not known, naming the leaf.
    """
    leaves = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(structure)]
    if not leaves:
        raise ValueError("there are no tensors in an empty structure")
    rows = []
    for name, leaf in zip(names(structure), leaves, strict=True):
        if leaf.shape.rank is None or not leaf.shape[axes:].is_fully_defined():
            raise ValueError(
                f"{label(name)} has the shape {leaf.shape}, which has to be known behind {axes} leading axes"
            )
        # Known lengths as constants: in a graph, asking for them is most of the work.
        leading = [-1 if size is None else size for size in leaf.shape[:axes]]
        rows.append(tf.reshape(leaf, [*leading, leaf.shape[axes:].num_elements()]))
    return tf.concat([tf.cast(row, leaves[0].dtype) for row in rows], axis=-1)


def raveled_operator(operator: Operator, like: Structure) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return ``operator`` on nested tensors like ``like`` as a function ``[P] -> [P]``.

    The function raises ValueError if the operator's result does not match ``like``.
    """
    _, unravel = ravel(like)
    return lambda vector: ravel(matched("the operator's result", operator(unravel(vector)), like))[0]


def dot(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Return the inner product of two vectors, ``[P], [P] -> []``."""
    return tf.reduce_sum(left * right)


def as_type(value: float | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return a number or a tensor in ``dtype``; ``tf.cast`` would round a Python number to float32 first."""
    return tf.cast(value, dtype) if tf.is_tensor(value) else tf.convert_to_tensor(value, dtype)


def epsilon(dtype: tf.DType) -> float:
    """Return the distance from 1 to the next larger number of a floating type."""
    return float(np.finfo(dtype.as_numpy_dtype).eps)

"""Derivatives of the meta-loss with respect to what an inner loop carries, and how they are put together."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from metalearn.types import Inner, Meta, Structure


class Cotangents(NamedTuple):
    """Derivatives of the meta-loss of one task.

    Attributes:
        inner: with respect to theta_k, s_k and m_k, structured as they are. Whole numbers have none: zeros.
        phi: with respect to phi, on the paths seen so far.
    """

    inner: Inner
    phi: Meta


def floating(structure: Structure) -> list[tf.Tensor]:
    """Return the leaves that have derivatives."""
    return [leaf for leaf in tf.nest.flatten(structure) if leaf.dtype.is_floating]


def packed(structure: Structure, of_floating: list[tf.Tensor | None]) -> Structure:
    """Return what was found of the floating leaves in their places, None in those of the others."""
    found = iter(of_floating)
    leaves = [next(found) if leaf.dtype.is_floating else None for leaf in tf.nest.flatten(structure)]
    return tf.nest.pack_sequence_as(structure, leaves)


def pairs(outputs: Structure, cotangents: Structure) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Return the floating outputs and their cotangents."""
    both = zip(tf.nest.flatten(outputs), tf.nest.flatten(cotangents), strict=True)
    pairs = [(output, cotangent) for output, cotangent in both if output.dtype.is_floating]
    return [output for output, _ in pairs], [cotangent for _, cotangent in pairs]


def added(left: Structure, right: Structure) -> Structure:
    """Add two cotangents of the same thing; ``None`` on the right is a path that does not exist."""
    return tf.nest.map_structure(lambda a, b: a if b is None else a + b, left, right)

"""Derivatives of the meta-loss with respect to the state of an inner loop, and operations on them."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from metalearn.types import Inner, Meta, Structure


class Cotangents(NamedTuple):
    """Derivatives of the meta-loss of one task.

    Attributes:
        inner: with respect to theta_k, s_k and m_k, with their structure; zeros for integers.
        phi: with respect to phi, along the paths seen so far.
    """

    inner: Inner
    phi: Meta


def floating(structure: Structure) -> list[tf.Tensor]:
    """Return the floating-point leaves."""
    return [leaf for leaf in tf.nest.flatten(structure) if leaf.dtype.is_floating]


def packed(structure: Structure, of_floating: list[tf.Tensor | None]) -> Structure:
    """Return a structure with the given values for floating-point leaves, and None for the others."""
    found = iter(of_floating)
    leaves = [next(found) if leaf.dtype.is_floating else None for leaf in tf.nest.flatten(structure)]
    return tf.nest.pack_sequence_as(structure, leaves)


def pairs(outputs: Structure, cotangents: Structure) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Return the floating-point outputs and their cotangents."""
    both = zip(tf.nest.flatten(outputs), tf.nest.flatten(cotangents), strict=True)
    pairs = [(output, cotangent) for output, cotangent in both if output.dtype.is_floating]
    return [output for output, _ in pairs], [cotangent for _, cotangent in pairs]


def added(left: Structure, right: Structure) -> Structure:
    """Add two cotangents of the same structure; ``None`` on the right means that there is no path."""
    return tf.nest.map_structure(lambda a, b: a if b is None else a + b, left, right)

"""Vector-Jacobian products of functions whose arguments and values may contain other types than floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metalearn.autodiff.failures import explained
from metalearn.autodiff.gradients import dense
from metalearn.autodiff.products import ZERO
from metalearn.nest import matched, names
from metalearn.types import Structure


def pullback(
    function: Callable[..., Structure], *primals: Structure
) -> tuple[Structure, Callable[[Structure], Any]]:
    """Return ``function(*primals)`` and the map from cotangents of the value to gradients of the primals.

    ::

        value = f(x_1, ..., x_n),   pull(cotangent) = (J_1' cotangent, ..., J_n' cotangent)

    Unlike :func:`vjp`, it accepts loop variables that are not floating point, such as a step counter or a
    seed: integers, booleans and strings are passed through without a derivative. A leaf on which the value
    does not depend has the gradient zero and is not an error, since an inner step need not use all loop
    variables.

    Args:
        function: of as many arguments as there are primals, each nested tensors; returns nested tensors.
        *primals: nested tensors.

    Returns:
        The value, and ``pull``, which may be called more than once. ``pull`` takes cotangents structured as
        the value, with the shapes and types of its floating-point leaves (others are ignored and may be
        ``None``), and returns the gradient structured as the primal, or a tuple of gradients for several
        primals. Gradients of leaves that are not floating point are zeros of their type; those of strings and
        ``None`` are ``None``.

    Raises:
        ValueError: from ``pull``, if cotangents do not match the value, naming the leaf; or if an operation
            has no derivative, naming it.

    Reference: Griewank and Walther (2008), "Evaluating Derivatives", section 3.2.
    """
    points = tf.nest.map_structure(_separate, primals)
    inputs = [leaf for leaf in tf.nest.flatten(points) if _is_floating(leaf)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        value = dense(function(*points))
    outputs = {
        name: leaf
        for name, leaf in zip(names(value), tf.nest.flatten(value), strict=True)
        if _is_floating(leaf)
    }

    def pull(cotangent: Structure) -> Any:
        given = dict(zip(names(cotangent), tf.nest.flatten(cotangent), strict=True))
        chosen = matched("cotangent", {name: given[name] for name in outputs if name in given}, outputs)
        given_in_order = [chosen[name] for name in outputs]
        with explained():
            found = tape.gradient(list(outputs.values()), inputs, given_in_order, unconnected_gradients=ZERO)
            gradients = iter(dense(found))
        pulled = tf.nest.map_structure(
            lambda leaf: next(gradients) if _is_floating(leaf) else _nothing(leaf), points
        )
        return pulled[0] if len(primals) == 1 else pulled

    return value, pull


def _separate(leaf: Any) -> Any:
    """Return a leaf as a new tensor, or ``None``."""
    return None if leaf is None else tf.identity(leaf)


def _is_floating(leaf: Any) -> bool:
    return leaf is not None and tf.convert_to_tensor(leaf).dtype.is_floating


def _nothing(leaf: Any) -> tf.Tensor | None:
    """Return the gradient of a leaf that is not floating point."""
    is_number = leaf is not None and (leaf.dtype.is_integer or leaf.dtype.is_bool or leaf.dtype.is_complex)
    return tf.zeros_like(leaf) if is_number else None

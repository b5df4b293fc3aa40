"""Jacobian-vector, vector-Jacobian and Hessian-vector products, and small dense Hessians.

A product costs a few evaluations of the function, independent of the number of parameters; the matrix is not
formed. Leaves of ``x`` are different variables even if the same tensor is passed for several of them, and a
tensor in the closure of ``function`` is a constant even if it is also a leaf of ``x``.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from metalearn.autodiff.failures import explained
from metalearn.autodiff.gradients import dense, require_connected, value_and_gradient
from metalearn.nest import distinct, matched, ravel
from metalearn.types import Structure

MODES = ("forward_over_reverse", "reverse_over_reverse")
"""How second derivatives are computed; the second is the default everywhere."""

ZERO = tf.UnconnectedGradients.ZERO


def jvp(
    function: Callable[[Structure], Structure], x: Structure, v: Structure
) -> tuple[Structure, Structure]:
    """Return ``function(x)`` and its derivative along ``v``, in forward mode.

    ::

        value = f(x),   tangent = J(x) v

    Args:
        function: maps nested tensors to nested tensors.
        x: the point; nested floating-point tensors.
        v: the direction, with the structure, shapes and types of ``x``.

    Returns:
        Value and tangent, with the same structure. An output that does not depend on ``x`` has tangent zero.

    Raises:
        ValueError: if ``v`` does not match ``x``, naming the leaf; if no output depends on ``x``; or if an
            operation has no forward derivative, naming it and the remedy.

    Reference: Griewank and Walther (2008), "Evaluating Derivatives", section 3.1.
    """
    point = distinct(x)
    tangents = tf.nest.flatten(matched("v", v, point))
    with explained(alone=lambda: function(point)):
        with tf.autodiff.ForwardAccumulator(tf.nest.flatten(point), tangents) as forward:
            value = dense(function(point))
        tangent = [forward.jvp(output) for output in tf.nest.flatten(value)]
    if all(part is None for part in tangent):
        require_connected(x, [None] * len(tangents))
    tangent = [
        tf.zeros_like(output) if part is None else tf.convert_to_tensor(part)
        for output, part in zip(tf.nest.flatten(value), tangent, strict=True)
    ]
    return value, tf.nest.pack_sequence_as(value, tangent)


def vjp(
    function: Callable[[Structure], Structure], x: Structure, cotangent: Structure
) -> tuple[Structure, Structure]:
    """Return ``function(x)`` and the gradient of its inner product with ``cotangent``, in reverse mode.

    ::

        value = f(x),   gradient = J(x)' cotangent

    Args:
        function: maps nested tensors to nested floating-point tensors.
        x: the point; nested floating-point tensors.
        cotangent: with the structure, shapes and types of the value.

    Returns:
        The value, and the gradient structured as ``x``.

    Raises:
        ValueError: if ``cotangent`` does not match the value, naming the leaf; or if no output depends on
            a leaf of ``x``, naming it; or if an operation has no derivative, naming it.

    Reference: Griewank and Walther (2008), "Evaluating Derivatives", section 3.2.
    """
    point = distinct(x)
    with tf.GradientTape() as tape:
        tape.watch(point)
        value = dense(function(point))
    cotangents = tf.nest.flatten(matched("cotangent", cotangent, value))
    with explained():
        gradient = dense(
            tape.gradient(tf.nest.flatten(value), tf.nest.flatten(point), output_gradients=cotangents)
        )
    require_connected(x, gradient)
    return value, tf.nest.pack_sequence_as(x, gradient)


def hvp(
    function: Callable[[Structure], tf.Tensor],
    x: Structure,
    v: Structure,
    mode: str = "reverse_over_reverse",
) -> Structure:
    """Return the product of the Hessian of a scalar function at ``x`` and ``v``.

    ::

        H(x) v = d/dt grad f(x + t v) at t = 0         forward over reverse
               = grad_x <grad f(x), v>                 reverse over reverse

    Both cost a small multiple of a gradient. TensorFlow computes a forward derivative by two reverse passes.
    Therefore reverse over reverse compiles and runs faster; in a graph it is also the only mode that
    differentiates ``tf.while_loop`` and ``tf.cond`` (recurrent layers that are not unrolled). It is the
    default. Forward over reverse does not store the intermediate values of the gradient.

    The result is only as correct as TensorFlow's registered second derivatives; those of ``tf.image.resize``
    and ``tf.py_function`` are zero without a warning. :func:`~metalearn.autodiff.central_differences` shows
    such errors.

    Args:
        function: maps nested tensors to a scalar.
        x: the point; nested floating-point tensors.
        v: with the structure, shapes and types of ``x``.
        mode: ``"reverse_over_reverse"`` or ``"forward_over_reverse"``.

    Returns:
        ``H v``, structured as ``x``; zeros for leaves in which the function is linear.

    Raises:
        ValueError: if ``v`` does not match ``x`` or the function does not depend on a leaf, naming it; if
            the function is not scalar; if an operation has no second derivative, or none in this ``mode``,
            naming it and the remedy.

    Reference: Pearlmutter (1994), "Fast Exact Multiplication by the Hessian", sections 2 and 3.

    >>> float(hvp(lambda x: x**3, tf.constant(2.0), tf.constant(1.0)))
    12.0
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    point = distinct(x)
    tangents = tf.nest.flatten(matched("v", v, point))
    along = _forward_over_reverse if mode == "forward_over_reverse" else _reverse_over_reverse
    return tf.nest.pack_sequence_as(x, dense(along(function, point, tangents)))


def _forward_over_reverse(
    function: Callable[[Structure], tf.Tensor], point: Structure, tangents: list[tf.Tensor]
) -> list[tf.Tensor]:
    points = tf.nest.flatten(point)

    def gradient() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(points)
            value = function(point)
        require_scalar(value)
        parts = dense(tape.gradient(value, points))
        require_connected(point, parts)
        return parts

    with explained(alone=gradient):
        with tf.autodiff.ForwardAccumulator(points, tangents) as forward:
            gradients = gradient()
        return [forward.jvp(part, unconnected_gradients=ZERO) for part in gradients]


def _reverse_over_reverse(
    function: Callable[[Structure], tf.Tensor], point: Structure, tangents: list[tf.Tensor]
) -> list[tf.Tensor]:
    points = tf.nest.flatten(point)
    with tf.GradientTape() as tape:
        tape.watch(points)
        value, gradient = value_and_gradient(function, point)
    require_scalar(value)
    with explained():
        return tape.gradient(tf.nest.flatten(gradient), points, tangents, unconnected_gradients=ZERO)


def hessian(
    function: Callable[[Structure], tf.Tensor],
    x: Structure,
    *,
    mode: str = "reverse_over_reverse",
    vectorized: bool = True,
) -> tf.Tensor:
    """Return the dense Hessian of a scalar function: one :func:`hvp` for each of ``P`` rows.

    For small problems: it takes the memory of ``P^2`` numbers and, if vectorised, of ``P`` times the
    activations.

    Args:
        function: maps nested tensors to a scalar.
        x: the point; nested tensors of one floating type, ``P`` scalars in total.
        mode: of :func:`hvp`.
        vectorized: all rows in one vectorised program; if not, one after the other. TensorFlow cannot
            vectorise convolutions over the directions of their filters.

    Returns:
        ``[P, P]``; rows and columns in the order of ``tf.nest.flatten``, row-major within a leaf. It is not
        symmetrised: the difference to its transpose shows the rounding error.

    Raises:
        ValueError: as :func:`hvp`; and if leaves differ in type or an operation cannot be vectorised.
    """
    flat, unravel = ravel(x)

    @tf.autograph.experimental.do_not_convert
    def row(direction: tf.Tensor) -> tf.Tensor:
        return ravel(hvp(function, x, unravel(direction), mode))[0]

    directions = tf.eye(flat.shape[0], dtype=flat.dtype)
    if vectorized:
        return tf.vectorized_map(row, directions, fallback_to_while_loop=False)
    return tf.map_fn(row, directions)


def require_scalar(value: tf.Tensor) -> None:
    """Raise ValueError unless ``value`` is a scalar; a tape would differentiate the sum of its entries."""
    if tf.convert_to_tensor(value).shape.rank != 0:
        raise ValueError(
            f"the function must return a scalar, not the shape {value.shape}: reduce it to one number, "
            "or use vjp with a cotangent of that shape"
        )

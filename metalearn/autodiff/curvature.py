"""Two approximations of the Hessian: the Gauss-Newton matrix' products, and an estimate of the diagonal."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from metalearn.autodiff.failures import explained
from metalearn.autodiff.gradients import dense, require_connected
from metalearn.autodiff.products import ZERO, hvp
from metalearn.checks import require_count
from metalearn.execution.loops import fold
from metalearn.nest import distinct, label, matched, names
from metalearn.random import fold_in, rademacher
from metalearn.types import Seed, Structure


def ggn(
    function: Callable[[Structure], Structure],
    loss: Callable[[Structure], tf.Tensor],
    x: Structure,
    v: Structure,
) -> Structure:
    """Return the generalised Gauss-Newton matrix of ``loss(function(x))``, times ``v``.

    ::

        G v = J' H_loss J v,    J = d function / dx,    H_loss = Hessian of the loss at the outputs

    The Hessian of ``loss(function(x))`` is G and a second term, the loss' gradient times the function's own
    second derivatives, which is zero where the outputs fit or the function is linear. For a loss that is
    convex in the outputs (squared errors, cross-entropy of logits) G is positive semi-definite, which the
    Hessian is not. For the negative log-likelihood of an exponential family in its natural parameters, G is
    the Fisher information.

    All in reverse mode, so loops of a graph pass; one evaluation of ``function``, three passes through it.

    Args:
        function: of nested tensors, to nested floating-point tensors.
        loss: of the outputs, to a scalar.
        x: where; nested floating-point tensors.
        v: structure, shapes and types of ``x``.

    Returns:
        ``G v``, structured as ``x``.

    Raises:
        ValueError: if ``v`` does not match ``x``, the outputs do not depend on a leaf of ``x`` or the loss
            not on an output, naming it; if an output is not floating point; if the loss is not scalar; or if
            an operation has no derivative, naming it.

    Reference: Schraudolph (2002), "Fast Curvature Matrix-Vector Products for Second-Order Gradient
    Descent", sections 3 and 4.
    """
    point = distinct(x)
    points, tangents = tf.nest.flatten(point), tf.nest.flatten(matched("v", v, point))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(points)
        outputs = dense(function(point))
    _require_floating(outputs)
    values = tf.nest.flatten(outputs)
    cotangents = [tf.zeros_like(value) for value in values]
    with explained():
        # J'u is linear in u, and its derivative along v is J v: forward mode out of two reverse passes.
        with tf.GradientTape() as linear:
            linear.watch(cotangents)
            pulled = dense(tape.gradient(values, points, cotangents))
            require_connected(x, pulled)
        pushed = linear.gradient(pulled, cotangents, tangents, unconnected_gradients=ZERO)
    curved = hvp(loss, outputs, tf.nest.pack_sequence_as(outputs, dense(pushed)))
    with explained():
        product = tape.gradient(values, points, tf.nest.flatten(curved), unconnected_gradients=ZERO)
    return tf.nest.pack_sequence_as(x, dense(product))


def hessian_diagonal(
    function: Callable[[Structure], tf.Tensor],
    x: Structure,
    *,
    seed: Seed,
    samples: int,
    mode: str = "reverse_over_reverse",
) -> Structure:
    """Estimate the diagonal of a scalar function's Hessian from products with random signs.

    ::

        diag(H) = E[z * H z],    estimate = 1/samples sum_s z_s * H z_s,    z_s in {-1, 1}^P

    Unbiased. The variance of entry i is ``sum_{j != i} H_ij^2 / samples``: nothing for a diagonal Hessian,
    where one sample is exact. Each sample costs one :func:`~metalearn.autodiff.hvp`.

    Args:
        function: of nested tensors, to a scalar.
        x: where; nested floating-point tensors of known shapes, ``P`` scalars in all.
        seed: two integers; the same seed gives the same signs, eagerly, in a graph and under XLA. In a
            vectorised map over tasks it has to be the same for all tasks.
        samples: number of random vectors, at least 1; ``samples P`` numbers are held.
        mode: of :func:`~metalearn.autodiff.hvp`.

    Returns:
        The estimate, structured as ``x``.

    Raises:
        ValueError: as ``hvp``; or if ``samples`` is not a positive integer.

    Reference: Bekas, Kokiopoulou and Saad (2007), "An Estimator for the Diagonal of a Matrix", section 2,
    with the probes of Hutchinson (1990).
    """
    require_count("samples", samples)
    point = distinct(x)
    signs = [
        rademacher([samples, *leaf.shape], fold_in(seed, index), leaf.dtype)
        for index, leaf in enumerate(tf.nest.flatten(point))
    ]

    def add(total: list[tf.Tensor], sample: tf.Tensor) -> list[tf.Tensor]:
        probe = [tf.gather(leaf, sample) for leaf in signs]
        image = tf.nest.flatten(hvp(function, point, tf.nest.pack_sequence_as(x, probe), mode))
        return [sum_ + z * product for sum_, z, product in zip(total, probe, image, strict=True)]

    zeros = [tf.zeros_like(leaf) for leaf in tf.nest.flatten(point)]
    total = fold(add, zeros, samples, in_graph=True)
    return tf.nest.pack_sequence_as(x, [leaf / samples for leaf in total])


def _require_floating(outputs: Structure) -> None:
    """Raise ValueError naming an output that is not floating point."""
    for name, leaf in zip(names(outputs), tf.nest.flatten(outputs), strict=True):
        if not leaf.dtype.is_floating:
            raise ValueError(
                f"the output {label(name)} is {leaf.dtype.name}, which has no derivative: leave it out of "
                "what the function returns"
            )

"""Products with the Gauss-Newton matrix, and an estimate of the diagonal of the Hessian."""

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
    """Return the product of the generalised Gauss-Newton matrix of ``loss(function(x))`` and ``v``.

    ::

        G v = J' H_loss J v,    J = d function / dx,    H_loss = Hessian of the loss at the outputs

    The Hessian of ``loss(function(x))`` is the sum of G and a second term, the gradient of the loss times the
    second derivatives of the function; that term is zero if the outputs fit the targets or the function is
    linear. For a loss that is convex in the outputs (squared error, cross-entropy of logits), G is positive
    semi-definite, while the Hessian need not be. For the negative log-likelihood of an exponential family in
    its natural parameters, G is the Fisher information.

    Only reverse mode is used, so ``function`` may contain loops of a graph. The cost is one evaluation of
    ``function`` and three passes through it.

    Args:
        function: maps nested tensors to nested floating-point tensors.
        loss: maps the outputs to a scalar.
        x: the point; nested floating-point tensors.
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
        # J'u is linear in u; its derivative with respect to u, times v, is J v: two reverse passes.
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
    """Estimate the diagonal of the Hessian of a scalar function from products with random sign vectors.

    ::

        diag(H) = E[z * H z],    estimate = 1/samples sum_s z_s * H z_s,    z_s in {-1, 1}^P

    The estimate is unbiased. The variance of entry i is ``sum_{j != i} H_ij^2 / samples``; it is zero for a
    diagonal Hessian, for which one sample is exact. Each sample costs one :func:`~metalearn.autodiff.hvp`.

    Args:
        function: maps nested tensors to a scalar.
        x: the point; nested floating-point tensors of known shapes, ``P`` scalars in total.
        seed: two integers; the same seed gives the same signs in eager execution, in a graph and under XLA.
            In a vectorised map over tasks it must be the same for all tasks.
        samples: number of random vectors, at least 1; they take the memory of ``samples P`` numbers.
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

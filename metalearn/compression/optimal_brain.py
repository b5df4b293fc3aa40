"""Optimal brain damage and surgeon: second-order pruning, with the Gauss-Newton matrix as the Hessian."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from metalearn.autodiff import ggn
from metalearn.checks import require_finite
from metalearn.compression.masks import prunable
from metalearn.nest import as_type, ravel
from metalearn.types import Parameters


def damage(
    function: Callable[[Parameters], tf.Tensor],
    loss: Callable[[tf.Tensor], tf.Tensor],
    parameters: Parameters,
) -> Parameters:
    """Return the increase of the loss by removing each kernel entry, from the diagonal of the curvature.

    ::

        theta_q^2 G_qq / 2,    G the Gauss-Newton matrix of loss(function(theta)), for trained theta

    It is for small models: each of the P rows of G needs a product.

    Args:
        function: ``parameters -> outputs``.
        loss: ``outputs -> scalar``.
        parameters: theta, P scalars in total.

    Reference: LeCun, Denker and Solla (1990), "Optimal Brain Damage", equation 5.
    """
    flat, unravel = ravel(parameters)
    diagonal = tf.linalg.diag_part(_gauss_newton(function, loss, parameters))
    return prunable(unravel(tf.square(flat) * diagonal / 2))


@dataclasses.dataclass(frozen=True)
class Surgeon:
    """The result of :func:`surgeon`.

    Attributes:
        parameters: theta.
        scores: ``theta_q^2 / (2 [G^-1]_qq)`` of the kernels: the increase of the loss by removing q with an
            optimal adjustment of all other parameters.
        inverse: the inverse of the damped Gauss-Newton matrix, ``[P, P]``.
    """

    parameters: Parameters
    scores: Parameters
    inverse: tf.Tensor

    def remove(self, masks: Parameters) -> Parameters:
        """Return the parameters with masked entries removed and the others adjusted.

        ::

            theta - G^-1 E (E' G^-1 E)^-1 E' theta,    E the unit vectors of the removed entries

        Args:
            masks: zeros and ones for each parameter, as eager tensors; parameters without a mask are kept.

        Reference: Hassibi and Stork (1992), equation 5, with several entries at once.
        """
        theta, unravel = ravel(self.parameters)
        ones = tf.nest.map_structure(tf.ones_like, self.parameters)
        kept, _ = ravel({**ones, **masks})
        gone = tf.where(kept == 0)[:, 0]
        columns = tf.gather(self.inverse, gone, axis=1)
        multipliers = tf.linalg.solve(tf.gather(columns, gone), tf.gather(theta, gone)[:, None])
        # The formula gives zero; this removes its rounding error.
        return unravel(kept * (theta - tf.matmul(columns, multipliers)[:, 0]))


def surgeon(
    function: Callable[[Parameters], tf.Tensor],
    loss: Callable[[tf.Tensor], tf.Tensor],
    parameters: Parameters,
    damping: float = 1e-3,
) -> Surgeon:
    """Return scores that account for an optimal adjustment of the other parameters.

    It is for small models: the Gauss-Newton matrix of ``P^2`` numbers is formed and inverted.

    Args:
        function: ``parameters -> outputs``.
        loss: ``outputs -> scalar``.
        parameters: the trained parameters theta, P scalars in total.
        damping: a number added to the diagonal, at least 0.

    Raises:
        ValueError: if the damping is negative.

    Reference: Hassibi and Stork (1992), "Second Order Derivatives for Network Pruning: Optimal Brain
    Surgeon", equation 5.
    """
    require_finite("damping", damping)
    if damping < 0:
        raise ValueError(f"damping must be at least 0, got {damping}: the curvature has to be positive")
    flat, unravel = ravel(parameters)
    matrix = _gauss_newton(function, loss, parameters)
    inverse = tf.linalg.inv(matrix + as_type(damping, flat.dtype) * tf.eye(flat.shape[0], dtype=flat.dtype))
    scores = tf.square(flat) / (2 * tf.linalg.diag_part(inverse))
    return Surgeon(parameters, prunable(unravel(scores)), inverse)


def _gauss_newton(
    function: Callable[[Parameters], tf.Tensor],
    loss: Callable[[tf.Tensor], tf.Tensor],
    parameters: Parameters,
) -> tf.Tensor:
    """Return the Gauss-Newton matrix, ``[P, P]``, row by row."""
    flat, unravel = ravel(parameters)

    @tf.function(autograph=False)
    def rows(directions: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(lambda v: ravel(ggn(function, loss, parameters, unravel(v)))[0], directions)

    return rows(tf.eye(flat.shape[0], dtype=flat.dtype))

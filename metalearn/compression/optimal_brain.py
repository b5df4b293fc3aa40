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
    """Return what the loss rises by if an entry of the kernels goes, after the diagonal of the curvature.

    ::

        theta_q^2 G_qq / 2,    G the Gauss-Newton matrix of loss(function(theta)), for trained theta

    For small models: each of P rows of G is a product.

    Args:
        function: of all parameters, to outputs.
        loss: of outputs, to a scalar.
        parameters: theta, P scalars in all.

    Reference: LeCun, Denker and Solla (1990), "Optimal Brain Damage", equation 5.
    """
    flat, unravel = ravel(parameters)
    diagonal = tf.linalg.diag_part(_gauss_newton(function, loss, parameters))
    return prunable(unravel(tf.square(flat) * diagonal / 2))


@dataclasses.dataclass(frozen=True)
class Surgeon:
    """What :func:`surgeon` found.

    Attributes:
        parameters: theta.
        scores: ``theta_q^2 / (2 [G^-1]_qq)`` of the kernels: what the loss rises by if q goes and all others
            make up for it.
        inverse: of the damped Gauss-Newton matrix, ``[P, P]``.
    """

    parameters: Parameters
    scores: Parameters
    inverse: tf.Tensor

    def remove(self, masks: Parameters) -> Parameters:
        """Return the parameters without what is masked, the others moved to make up for it.

        ::

            theta - G^-1 E (E' G^-1 E)^-1 E' theta,    E the unit vectors of what goes

        Args:
            masks: zeros and ones by parameter, not of a graph; parameters without a mask stay.

        Reference: Hassibi and Stork (1992), equation 5, with several entries at once.
        """
        theta, unravel = ravel(self.parameters)
        ones = tf.nest.map_structure(tf.ones_like, self.parameters)
        kept, _ = ravel({**ones, **masks})
        gone = tf.where(kept == 0)[:, 0]
        columns = tf.gather(self.inverse, gone, axis=1)
        multipliers = tf.linalg.solve(tf.gather(columns, gone), tf.gather(theta, gone)[:, None])
        # Zero by the formula, and not a rounding error of it.
        return unravel(kept * (theta - tf.matmul(columns, multipliers)[:, 0]))


def surgeon(
    function: Callable[[Parameters], tf.Tensor],
    loss: Callable[[tf.Tensor], tf.Tensor],
    parameters: Parameters,
    damping: float = 1e-3,
) -> Surgeon:
    """Return scores that count in what the other parameters can make up for.

    For small models: the Gauss-Newton matrix is formed and inverted, ``P^2`` numbers.

    Args:
        function: of all parameters, to outputs.
        loss: of outputs, to a scalar.
        parameters: theta, trained; P scalars in all.
        damping: added to the diagonal, at least 0.

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

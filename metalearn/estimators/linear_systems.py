"""The linear systems of implicit differentiation and the residuals of their solutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import tensorflow as tf

from metalearn.autodiff import conjugate_gradient, neumann
from metalearn.nest import ravel
from metalearn.types import Structure

Solver = Literal["conjugate_gradient", "neumann"]

Operator = Callable[[Structure], Structure]
"""A matrix, represented by its products with vectors."""


class Solved(NamedTuple):
    """A solution of ``A x = b``.

    Attributes:
        x: the solution, with the structure of b.
        relative: ``|b - A x| / |b|``, 0 for b = 0.
        indefinite: 1 if a direction of negative curvature was encountered, else 0.
    """

    x: Structure
    relative: tf.Tensor
    indefinite: tf.Tensor

    def residual(self, stationarity: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the entries of :attr:`metalearn.types.MetaGradient.residual`."""
        return {
            "stationarity": stationarity,
            "solver": self.relative,
            "negative_curvature": self.indefinite,
        }


def conjugate_gradients(
    matrix: Operator, b: Structure, damping: float, iterations: int, start: Structure | None = None
) -> Solved:
    """Solve ``(A + damping I) x = b`` by a fixed number of conjugate-gradient steps from ``start`` or 0."""
    found = conjugate_gradient(matrix, b, x0=start, damping=damping, max_iterations=iterations, tolerance=0.0)
    relative = tf.math.divide_no_nan(found.residual_norm, tf.norm(ravel(b)[0]))
    return Solved(found.x, relative, tf.cast(found.indefinite, relative.dtype))


def series(matrix: Operator, b: Structure, scale: float, terms: int) -> Solved:
    """Return ``scale sum_i (I - scale A)^i b``, a sum of ``terms`` terms."""
    found = neumann(matrix, b, scale=scale, terms=terms)
    relative = tf.math.divide_no_nan(found.residual_norm, tf.norm(ravel(b)[0]))
    return Solved(found.x, relative, tf.zeros_like(relative))

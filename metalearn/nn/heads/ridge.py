"""Ridge regression as a head."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.nn.heads.protocol import Head, logarithms, positive, require_head_settings
from metalearn.types import Structure


@dataclasses.dataclass(frozen=True)
class ridge(Head):
    """Ridge regression from the features of the last layer to the targets.

    ::

        W = X' (X X' + lambda I)^{-1} Y  =  (X' X + lambda I)^{-1} X' Y,      X = [features, 1]
        outputs = a [f, 1] W + c

    The smaller of the two systems is solved. ``lambda = exp(l)`` has the meta-parameter l,
    ``"log_strength"``. The solution is differentiated exactly, so that the learned features suit ridge
    regression. Classes are one-hot vectors; the scale a converts predictions of about 0 and 1 to logits. The
    shift c follows the paper: it is the same for all outputs, so the softmax does not depend on it.

    Args:
        strength: the initial lambda, above 0, relative to errors that are summed over examples, not averaged.
        learned: whether lambda is a meta-parameter.
        scale: the initial a, above 0; a = exp(``"log_scale"``) and c = ``"shift"``, initially 0, are then
            meta-parameters. None for constants a = 1 and c = 0, for regression.

    Raises:
        ValueError: if ``strength`` or ``scale`` is not positive.

    Reference: Bertinetto et al. (2019), "Meta-learning with Differentiable Closed-form Solvers",
    equations 4 and 6 (R2-D2). Deviation: they learn a instead of log a.
    """

    strength: float = 1.0
    learned: bool = True
    scale: float | None = None

    def __post_init__(self) -> None:
        require_head_settings(self.strength, self.scale)

    @property
    def hyperparameters(self) -> Structure:
        """The logarithms of strength and scale, and the shift, if they are learned."""
        learned = logarithms(strength=self.strength if self.learned else None, scale=self.scale)
        return learned if self.scale is None else {**learned, "shift": tf.zeros([], tf.float64)}

    def fit(
        self, features: tf.Tensor, targets: tf.Tensor, hyperparameters: Structure
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the scaled and shifted solution; see :class:`Head`."""
        penalty = positive("strength", hyperparameters, self.strength, features.dtype)
        inputs = tf.concat([features, tf.ones_like(features[:, :1])], 1)
        if inputs.shape[0] is not None and inputs.shape[0] < inputs.shape[1]:
            weights = tf.matmul(
                inputs, _solve(tf.matmul(inputs, inputs, transpose_b=True), penalty, targets), True
            )
        else:
            right = tf.matmul(inputs, targets, transpose_a=True)
            weights = _solve(tf.matmul(inputs, inputs, transpose_a=True), penalty, right)
        if self.scale is None:
            return weights[:-1], weights[-1]
        weights *= positive("scale", hyperparameters, self.scale, features.dtype)
        return weights[:-1], weights[-1] + tf.cast(hyperparameters["shift"], features.dtype)


def _solve(gram: tf.Tensor, penalty: tf.Tensor | float, right: tf.Tensor) -> tf.Tensor:
    """Return ``(gram + penalty I)^{-1} right``; the matrix is positive definite."""
    matrix = gram + penalty * tf.eye(gram.shape[0], dtype=gram.dtype)
    return tf.linalg.cholesky_solve(tf.linalg.cholesky(matrix), right)

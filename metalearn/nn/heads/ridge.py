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

    by the smaller of the two systems. ``lambda = exp(l)``, with l a meta-parameter, ``"log_strength"``. The
    solution is differentiated exactly, so features are learned that ridge regression does well on. Classes
    are regressed on as one-hot vectors; the scale a makes logits of predictions that are about 0 and 1. The
    shift c is the paper's: it is the same for all outputs, so that no softmax depends on it.

    Args:
        strength: lambda before training, above 0. Errors are summed over the examples here, not averaged.
        learned: whether lambda is a meta-parameter.
        scale: a before training, above 0; then a = exp(``"log_scale"``) and c = ``"shift"``, from 0, are
            meta-parameters. None for 1 and 0, as regression wants it.

    Raises:
        ValueError: if ``strength`` or ``scale`` is not positive.

    Reference: Bertinetto et al. (2019), "Meta-learning with Differentiable Closed-form Solvers",
    equations 4 and 6 (R2-D2). Deviation: they learn a itself.
    """

    strength: float = 1.0
    learned: bool = True
    scale: float | None = None

    def __post_init__(self) -> None:
        require_head_settings(self.strength, self.scale)

    @property
    def hyperparameters(self) -> Structure:
        """Logarithms of strength and scale, and the shift, as far as they are learned."""
        learned = logarithms(strength=self.strength if self.learned else None, scale=self.scale)
        return learned if self.scale is None else {**learned, "shift": tf.zeros([], tf.float64)}

    def fit(
        self, features: tf.Tensor, targets: tf.Tensor, hyperparameters: Structure
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the solution, scaled and shifted; see :class:`Head`."""
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

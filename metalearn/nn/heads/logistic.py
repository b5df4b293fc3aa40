"""Logistic regression as a head, by a few Newton steps."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.nn.heads.protocol import Head, logarithms, positive, require_head_settings
from metalearn.types import Structure


@dataclasses.dataclass(frozen=True)
class logistic(Head):
    """Ridge-penalised logistic regression of every class against the others, by Newton's method from 0.

    ::

        min_w  sum_n log(1 + exp(-s_n w'x_n)) + lambda/2 |w|^2,      s_n = 1 in the class, -1 outside
        w <- (X' S X + lambda I)^{-1} X' (S X w + y - mu),           X = [features, 1]

    with ``mu = sigmoid(X w)``, ``S = diag(mu (1 - mu))`` and y in {0, 1}: iteratively reweighted least
    squares. The systems have the size of the support, by Woodbury's identity. The steps are differentiated,
    so the meta-gradient is exact even if they have not converged. Logits are ``a X w``.

    Args:
        strength: the initial lambda, above 0; learned as ``exp("log_strength")``.
        learned: whether lambda is a meta-parameter.
        steps: the number of Newton steps, at least 1.
        scale: the initial a, above 0, which is learned as ``exp("log_scale")``; None for a constant 1.

    Raises:
        ValueError: if a number is out of range.

    Reference: Bertinetto et al. (2019), "Meta-learning with Differentiable Closed-form Solvers", section 3.3
    (LR-D2, for two classes).
    """

    strength: float = 1.0
    learned: bool = True
    steps: int = 5
    scale: float | None = None

    classes = True

    def __post_init__(self) -> None:
        require_count("steps", self.steps)
        require_head_settings(self.strength, self.scale)

    @property
    def hyperparameters(self) -> Structure:
        """The logarithms of strength and scale, if they are learned."""
        return logarithms(strength=self.strength if self.learned else None, scale=self.scale)

    def fit(
        self, features: tf.Tensor, targets: tf.Tensor, hyperparameters: Structure
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the weights after the steps; see :class:`Head`."""
        inputs = tf.concat([features, tf.ones_like(features[:, :1])], 1)
        gram = tf.matmul(inputs, inputs, transpose_b=True)
        penalty = positive("strength", hyperparameters, self.strength, features.dtype)
        identity = tf.eye(gram.shape[0], dtype=gram.dtype)
        labels = tf.transpose(targets)
        # w = X' alpha: a row for each class. (lambda I + S G)^{-1}, with a symmetric matrix in the middle.
        alpha = tf.zeros_like(labels)
        for _ in range(self.steps):
            logits = tf.matmul(alpha, gram)
            mu = tf.sigmoid(logits)
            root = tf.sqrt(mu * (1 - mu))
            right = tf.square(root) * logits + labels - mu
            matrix = penalty * identity + root[:, :, None] * gram * root[:, None, :]
            within = root * tf.matmul(right, gram)
            solved = tf.linalg.cholesky_solve(tf.linalg.cholesky(matrix), within[..., None])[..., 0]
            alpha = (right - root * solved) / penalty
        weights = tf.matmul(inputs, alpha, transpose_a=True, transpose_b=True)
        weights *= positive("scale", hyperparameters, self.scale, features.dtype)
        return weights[:-1], weights[-1]

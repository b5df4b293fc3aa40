"""The multi-class support vector machine as a head."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_count, require_positive
from metalearn.nn.heads.protocol import Head, logarithms, positive, require_head_settings
from metalearn.types import Structure

SHRINK = 0.1
"""The fraction of the complementarity that remains after a full interior-point step."""

SMALLEST = 1e-9
"""The smallest complementarity in units of the bound; below it, the systems are too ill-conditioned."""

CLOSEST = 0.995
"""The largest fraction of the distance to the boundary that a step may take."""


@dataclasses.dataclass(frozen=True)
class svm(Head):
    """The linear support vector machine of Crammer and Singer, solved in its dual form.

    ::

        min_b  1/2 sum_k |w_k|^2 - sum_n alpha_{n, y_n},       w_k = sum_n alpha_nk f_n
        alpha = C Y - b,      b_nk >= 0,      sum_k b_nk = C   for every example n

    with one-hot targets Y: the ``alpha`` of an example sum to 0; they are at most C for its own class and at
    most 0 for the others. A primal-dual interior-point method takes a fixed number of Newton steps towards
    ``b_nk z_nk = 1e-9 C`` with the multipliers z; its systems have the size of the support, one for each
    class and one that couples them. At the solution a Newton step does not depend on its start, so only the
    last step is differentiated: this is implicit differentiation of the optimality conditions, which is as
    exact as the solution for first derivatives. Logits are ``a w_k' f``.

    Args:
        bound: C, above 0.
        steps: the number of Newton steps, at least 1.
        scale: the initial a, above 0, which is learned as ``exp("log_scale")``; None for a constant 1.

    Raises:
        ValueError: if a number is out of range.

    References: Lee, Maji, Ravichandran and Soatto (2019), "Meta-Learning with Differentiable Convex
    Optimization", equations 5 to 8 (MetaOptNet-SVM, C = 0.1); Crammer and Singer (2001), "On the Algorithmic
    Implementation of Multiclass Kernel-based Vector Machines"; Amos and Kolter (2017), "OptNet".
    """

    bound: float = 0.1
    steps: int = 15
    scale: float | None = 1.0

    classes = True

    def __post_init__(self) -> None:
        require_positive("bound", self.bound)
        require_count("steps", self.steps)
        require_head_settings(scale=self.scale)

    @property
    def hyperparameters(self) -> Structure:
        """The logarithm of the scale, if there is one."""
        return logarithms(scale=self.scale)

    def fit(
        self, features: tf.Tensor, targets: tf.Tensor, hyperparameters: Structure
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the weights of the classes and no bias; see :class:`Head`."""
        # In float64, because entries of the systems differ by factors of 1e10 near the solution.
        wide, labels = tf.cast(features, tf.float64), tf.cast(tf.transpose(targets), tf.float64)
        gram = tf.matmul(wide, wide, transpose_b=True)
        fixed = tf.stop_gradient(gram)
        point = self._start(labels)
        for _ in range(self.steps - 1):
            point = self._newton(fixed, labels, point)
        alpha = self.bound * labels - self._newton(gram, labels, point)[0]
        weights = tf.matmul(wide, alpha, transpose_a=True, transpose_b=True)
        weights = tf.cast(weights, features.dtype)
        scale = positive("scale", hyperparameters, self.scale, features.dtype)
        return scale * weights, tf.zeros_like(weights[0])

    def _start(self, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return central b, multipliers z of ``b >= 0``, both ``[K, N]``, and t ``[N]`` of the sums."""
        return (
            tf.ones_like(labels) * self.bound / labels.shape[0],
            tf.ones_like(labels),
            tf.zeros_like(labels[0]),
        )

    def _newton(
        self, gram: tf.Tensor, labels: tf.Tensor, point: tuple[tf.Tensor, tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the point after a step towards ``b z = mu`` with a decreasing mu.

        Conditions: ``G (b - C Y) + Y - z + t = 0``, ``sum_k b = C``, ``b z = mu``.
        """
        b, z, t = point
        mu = tf.maximum(SHRINK * tf.stop_gradient(tf.reduce_mean(b * z)), SMALLEST * self.bound)
        slope = tf.matmul(b - self.bound * labels, gram) + labels - z + t
        missing = self.bound - tf.reduce_sum(b, 0)
        right = -slope + mu / b - z
        identity = tf.eye(gram.shape[0], batch_shape=[b.shape[0]], dtype=gram.dtype)
        # A constant: its derivative is multiplied by the step, which is zero at the solution.
        inverse = _solve(tf.stop_gradient(gram) + tf.linalg.diag(z / b), identity)
        alone = tf.linalg.matvec(inverse, right)
        of_t = _solve(tf.reduce_sum(inverse, 0), (tf.reduce_sum(alone, 0) - missing)[:, None])[:, 0]
        of_b = alone - tf.linalg.matvec(inverse, of_t[None])
        of_z = (mu - z * of_b) / b - z
        length = tf.stop_gradient(tf.minimum(_reach(b, of_b), _reach(z, of_z)))
        return b + length * of_b, z + length * of_z, t + length * of_t


def _solve(matrix: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Return the solution of positive definite systems."""
    return tf.linalg.cholesky_solve(tf.linalg.cholesky(matrix), right)


def _reach(x: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """Return the largest fraction of a change, at most 1, that keeps x positive."""
    ratios = tf.where(change < 0, -x / tf.where(change < 0, change, -1.0), 1.0 / CLOSEST)
    return tf.minimum(CLOSEST * tf.reduce_min(ratios), 1.0)

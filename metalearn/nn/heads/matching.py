"""The head with attention over the examples of the support."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.nn.heads.protocol import Head, logarithms, positive, require_head_settings
from metalearn.types import Structure

SMALLEST = 1e-12
"""The smallest squared length by which features are divided."""


@dataclasses.dataclass(frozen=True)
class matching(Head):
    """Classification by attention over the support: a softmax of the cosine between features.

    ::

        P(k | f)    = sum_n a_n(f) Y_nk,      a_n(f) = softmax over n of  a cos(f, f_n)
        logit_k(f)  = log sum_n Y_nk exp(a cos(f, f_n)) = log P(k | f) + a term independent of k

    with the features f_n and the one-hot targets Y of the support. Instead of a kernel and a bias of the last
    layer, a task has ``a f_n / |f_n|``, ``[N, F]``, and Y, ``[N, O]``; inner steps update the former. A class
    without examples has the logit -inf and makes gradients NaN.

    Args:
        scale: the initial a, above 0, which is learned as ``exp("log_scale")``; None for a constant 1.

    Raises:
        ValueError: if ``scale`` is not positive.

    Reference: Vinyals et al. (2016), "Matching Networks for One Shot Learning", equation 1 and section 2.1.1,
    where the scale is 1. Their full context embeddings, with which features depend on the whole support, are
    not implemented.
    """

    scale: float | None = None

    classes = True
    attends = True

    def __post_init__(self) -> None:
        require_head_settings(scale=self.scale)

    @property
    def hyperparameters(self) -> Structure:
        """The logarithm of the scale, if there is one."""
        return logarithms(scale=self.scale)

    def fit(
        self, features: tf.Tensor, targets: tf.Tensor, hyperparameters: Structure
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return ``a f_n / |f_n|`` as rows, and the targets; see :class:`Head`."""
        return positive("scale", hyperparameters, self.scale, features.dtype) * _unit(features), targets

    def answer(self, features: tf.Tensor, solved: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Return the logits ``[M, O]``; see :class:`Head`."""
        rows, targets = solved
        similarities = tf.matmul(_unit(features), rows, transpose_b=True)
        # Targets are not parameters, so their derivative in inner steps is 0.
        logarithm = tf.math.log(tf.stop_gradient(targets)) + 0 * targets
        return tf.reduce_logsumexp(similarities[:, :, None] + logarithm, 1)


def _unit(features: tf.Tensor) -> tf.Tensor:
    return tf.math.l2_normalize(features, -1, SMALLEST)

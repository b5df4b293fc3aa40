"""The head that classifies by the distance to class means."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.nn.heads.protocol import Head, logarithms, positive, require_head_settings
from metalearn.types import Structure


@dataclasses.dataclass(frozen=True)
class prototypes(Head):
    """Classification by the negative squared Euclidean distance to class means.

    ::

        c_k = mean of f_n over the examples n of class k
        logit_k(f) = a (2 c_k' f - |c_k|^2) = -a |f - c_k|^2 + a |f|^2

    The last term is the same for all classes and does not affect the softmax, so the head is linear. Inner
    steps start from this classifier (Proto-MAML). A class without examples makes the head NaN.

    Args:
        scale: the initial a, above 0, which is learned as ``exp("log_scale")``; None for a constant 1.

    Raises:
        ValueError: if ``scale`` is not positive.

    References: Snell, Swersky and Zemel (2017), "Prototypical Networks for Few-shot Learning", equations 1,
    2 and 8; on the scale, Oreshkin et al. (2018), "TADAM", section 3.1; on inner steps, Triantafillou et al.
    (2020), "Meta-Dataset", section 3.
    """

    scale: float | None = None

    classes = True

    def __post_init__(self) -> None:
        require_head_settings(scale=self.scale)

    @property
    def hyperparameters(self) -> Structure:
        """The logarithm of the scale, if there is one."""
        return logarithms(scale=self.scale)

    def fit(
        self, features: tf.Tensor, targets: tf.Tensor, hyperparameters: Structure
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return ``2 a c_k`` as columns, and ``-a |c_k|^2``; see :class:`Head`."""
        sums = tf.matmul(features, targets, transpose_a=True)
        means = sums / tf.reduce_sum(targets, 0)
        scale = positive("scale", hyperparameters, self.scale, features.dtype)
        return 2 * scale * means, -scale * tf.reduce_sum(tf.square(means), 0)

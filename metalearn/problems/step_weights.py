"""Weights of the query losses after each inner step in the meta-loss."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from metalearn.checks import require_count

StepWeights = Callable[[int, tf.Tensor], tf.Tensor]
"""``(K, iteration) -> [K+1]``: the weights of the meta-losses at theta_0, ..., theta_K."""

FLOOR = 0.03
"""The smallest fraction of its initial weight that a step before the last has during annealing."""

__all__ = ["annealed"]


def annealed(iterations: int, fraction: float = 0.1) -> StepWeights:
    """Return weights that are equal for all steps at first, and 1 for the last step at the end.

    ::

        w_k = max(1 - i / (fraction iterations), 0.03) / K      for k = 1..K-1,   w_0 = 0
        w_K = 1 - sum of the others

    in iteration i, and only ``w_K = 1`` from ``i = fraction iterations`` on. The paper does not specify the
    annealing; the floor and its end are those of the authors' code, which anneals once in each epoch of 500
    iterations.

    Args:
        iterations: the number of iterations of the training, at least 1.
        fraction: the fraction of the iterations in which weights are annealed, in (0, 1].

    Raises:
        ValueError: if an argument is out of range.

    Reference: Antoniou, Edwards and Storkey (2019), "How to train your MAML", equation 4 (multi-step
    loss) and section 5.1 (10 of 100 epochs).
    """
    require_count("iterations", iterations)
    if not isinstance(fraction, int | float) or not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1], got {fraction!r}")

    def weights(steps: int, iteration: tf.Tensor) -> tf.Tensor:
        progress = tf.cast(iteration, tf.float32) / (fraction * iterations)
        early = tf.where(progress < 1, tf.maximum(1 - progress, FLOOR) / max(steps, 1), 0.0)
        before = tf.fill([max(steps - 1, 0)], early)
        return tf.concat([tf.zeros([min(steps, 1)]), before, [1 - tf.reduce_sum(before)]], 0)

    return weights

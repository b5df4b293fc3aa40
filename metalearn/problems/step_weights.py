"""What each inner step's query loss counts for in the meta-loss."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from metalearn.checks import require_count

StepWeights = Callable[[int, tf.Tensor], tf.Tensor]
"""``(K, iteration) -> [K+1]``: the weights of the meta-losses at theta_0, ..., theta_K."""

FLOOR = 0.03
"""What a step before the last keeps of its first weight while weights are annealed."""

__all__ = ["annealed"]


def annealed(iterations: int, fraction: float = 0.1) -> StepWeights:
    """Return weights that begin equal for all steps and end at 1 for the last.

    ::

        w_k = max(1 - i / (fraction iterations), 0.03) / K      for k = 1..K-1,   w_0 = 0
        w_K = 1 - sum of the others

    in iteration i, and ``w_K = 1`` alone from ``i = fraction iterations`` on. The floor, and the end of
    it, are of the authors' code; the paper anneals without saying how. They anneal by epochs of 500
    iterations.

    Args:
        iterations: of the whole training, at least 1.
        fraction: of them, in which weights are annealed; in (0, 1].

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

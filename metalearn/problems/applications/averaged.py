"""Meta-losses that are means over all steps of a training."""

from __future__ import annotations

import tensorflow as tf


def step_weights(steps: int, averaged: bool) -> tf.Tensor | None:
    """Return the weights ``[K+1]`` of the mean over theta_1, ..., theta_K; None for theta_K alone."""
    if not averaged or steps < 1:
        return None
    return tf.constant([0.0] + [1 / steps] * steps)

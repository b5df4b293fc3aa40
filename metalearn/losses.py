"""Losses ``(targets, outputs) -> scalar``. Each docstring says mean or sum: inner rates depend on it."""

from __future__ import annotations

import tensorflow as tf

__all__ = ["mse"]


def mse(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Return the mean squared error, ``mean((outputs - targets)^2)`` over examples and components.

    Args:
        targets: ``[N, D]``.
        outputs: ``[N, D]``; no broadcasting, which would hide a wrong shape behind a number.

    Raises:
        ValueError: if the shapes differ.
    """
    if targets.shape.as_list() != outputs.shape.as_list():
        raise ValueError(
            f"mse: targets have shape {targets.shape} and outputs {outputs.shape}; "
            "they must be equal (no broadcasting)"
        )
    return tf.reduce_mean(tf.square(outputs - targets))

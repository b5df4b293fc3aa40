"""Clipping of each task's meta-gradient, so that one diverging task does not dominate an update."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from metalearn.checks import require_positive
from metalearn.execution.mean import mean_over_tasks
from metalearn.types import Meta, MetaGradient


class Clip(NamedTuple):
    """Limits for each task's meta-gradient.

    Attributes:
        value: the largest absolute value of an entry, positive; None for no limit.
        norm: the largest norm, positive; None for no limit.
    """

    value: float | None = None
    norm: float | None = None

    def require(self) -> None:
        """Raise ValueError if a limit is not positive."""
        for name, bound in self._asdict().items():
            if bound is not None:
                require_positive(f"clip_task_{name} (null for none)", bound)


def combined(result: MetaGradient, clip: Clip) -> Meta:
    """Return the meta-gradient of an update: the mean over tasks of their clipped meta-gradients."""
    return mean_of_clipped(result.per_task, **clip._asdict()) if any(clip) else result.gradient


def mean_of_clipped(per_task: Meta, *, value: float | None = None, norm: float | None = None) -> Meta:
    """Return the mean over tasks of their clipped meta-gradients.

    ::

        g_t <- min(max(g_t, -value), value)                 every entry
        g_t <- g_t min(1, norm / |g_t|)                     over all leaves together
        g   =  1/T sum_t g_t

    Non-finite gradients stay non-finite.

    Args:
        per_task: each leaf ``[T, ...]``.
        value: the largest absolute value of an entry, positive; None for no limit.
        norm: the largest norm of a task's gradient, positive; None for no limit. Applied after ``value``.

    Returns:
        The mean, with the structure of ``per_task`` without the leading axis.

    Reference: the code of Finn, Abbeel and Levine (2017) clips entries of the mean to 10; the code of
    Zintgraf et al. (2019), "Fast Context Adaptation via Meta-Learning", clips those of every task.
    """
    leaves = tf.nest.flatten(per_task)
    if value is not None:
        clipped = [tf.clip_by_value(leaf, -value, value) for leaf in leaves]
        leaves = [
            tf.where(tf.math.is_finite(before), after, before)
            for before, after in zip(leaves, clipped, strict=True)
        ]
    if norm is not None:
        squares = [tf.reduce_sum(tf.square(leaf), range(1, leaf.shape.rank)) for leaf in leaves]
        length = tf.sqrt(tf.add_n([tf.cast(square, squares[0].dtype) for square in squares]))
        factor = norm / tf.maximum(length, norm)
        leaves = [
            leaf * tf.reshape(tf.cast(factor, leaf.dtype), [-1] + [1] * (leaf.shape.rank - 1))
            for leaf in leaves
        ]
    return tf.nest.pack_sequence_as(per_task, [mean_over_tasks(leaf) for leaf in leaves])

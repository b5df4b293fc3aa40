"""Comparison of a learner's meta-gradient with finite differences of its meta-loss."""

from __future__ import annotations

import tensorflow as tf

from metalearn.autodiff import GradientReport
from metalearn.autodiff import check_gradients as compare
from metalearn.problems.learner import Learner, meta_gradient
from metalearn.types import Meta, Seed, Task


def check_gradients(
    learner: Learner, meta: Meta, tasks: Task, seed: Seed = (0, 0), *, directions: int | None = 3
) -> GradientReport:
    """Compare a learner's meta-gradient with central differences of its meta-loss, leaf by leaf.

    Args:
        learner: any learner in float64.
        meta: meta-parameters, as returned by ``learner.initialize``.
        tasks: leaves ``[T, ...]``, in float64.
        seed: as for ``learner.meta_gradient``; all differences use the same noise.
        directions: the number of random directions in every leaf; None for all coordinates of small leaves.

    Returns:
        A report, see :func:`metalearn.autodiff.check_gradients`; ``report.passed(1e-6)`` is the result of the
        check. Biased estimators (first order, implicit without convergence) do not pass, by design.

    Raises:
        ValueError: if a tensor is not float64, or the learner rejects the tasks.
    """
    learner.require_fit(tasks)
    phi, state = learner.parts(meta)
    seed = tf.convert_to_tensor(seed)

    @tf.function(autograph=False)
    def meta_loss(phi: Meta) -> tf.Tensor:
        return tf.reduce_mean(meta_gradient(learner, learner.whole(phi, state), tasks, seed).loss)

    gradient = tf.function(
        lambda phi: meta_gradient(learner, learner.whole(phi, state), tasks, seed).gradient, autograph=False
    )
    return compare(meta_loss, phi, gradient(phi), directions=directions)

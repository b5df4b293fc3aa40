"""Comparison of the compiled meta-gradient with eager execution, which detects compiler errors."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import tensorflow as tf

from metalearn.execution.choice import always_sequential
from metalearn.nest import epsilon, flat
from metalearn.problems.learner import Posed
from metalearn.training.carrying import Carried
from metalearn.training.program import Outcome
from metalearn.types import Meta, Task

TOLERANCE = {"float64": 1e-6, "float32": 1e-2}
"""Relative difference of two meta-gradients that may result from rounding over a few inner steps."""

SMALLEST = 1e-30
"""The length below which a gradient is considered zero."""

ULPS, SENSITIVE = 16, 3
"""Perturbation of phi in units in the last place, and the factor of its effect that counts as an error."""


def copies(structure: Any) -> Any:
    """Return a structure with the same shapes in which every entry is the first one of its leaf."""
    return tf.nest.map_structure(lambda leaf: tf.broadcast_to(leaf[:1], leaf.shape), structure)


def disagreement(
    outcome: Future[Outcome], estimate: Callable[..., Meta], posed: Posed, tasks: Task, carried: Carried
) -> float:
    """Return the relative difference of compiled and eager meta-gradients, for copies of one task.

    The mean over copies is the meta-gradient of a single task, which eager execution computes in little time.
    If a model draws noise for each copy, eager execution uses all copies.

    Rounding can dominate the meta-gradient, for example after many steps or the first step of Adam. The two
    then differ without an error. This is assumed if a perturbation of phi of the size of rounding has a
    similar effect.

    Args:
        outcome: the outcome of the compiled program for ``tasks``, which may not be known yet.
        estimate: ``(phi, tasks, carried=...) -> meta-gradient``, called in eager execution.
        posed: the learner's problem with phi and tasks.
        tasks: copies of one task, ``[T, ...]``.
        carried: the carried state that the program received; its inner loops are copies, too.

    Returns:
        ``|g - g'| / |g'|``; 0 if either is not finite.

    Raises:
        ValueError: if it is above ``TOLERANCE``, with the remedy.
    """
    if all(bool(tf.reduce_all(leaf == leaf[:1])) for leaf in tf.nest.flatten(posed.tasks)):
        tasks, inner = tf.nest.map_structure(lambda leaf: leaf[:1], (tasks, carried.inner))
        carried = carried._replace(inner=inner)

    def eager(phi: Meta) -> tf.Tensor:
        with always_sequential():
            return flat(estimate(phi, tasks, carried=carried))

    expected, found = eager(posed.phi), flat(outcome.result().gradient)
    if not bool(tf.reduce_all(tf.math.is_finite(tf.stack([found, expected])))):
        return 0.0  # the training reports it

    def distance(other: tf.Tensor) -> float:
        return float(tf.norm(other - expected) / tf.maximum(tf.norm(expected), SMALLEST))

    off = distance(found)
    if off > TOLERANCE.get(found.dtype.name, 1e-1) and off > SENSITIVE * distance(eager(_moved(posed.phi))):
        raise ValueError(
            f"the compiled meta-gradient differs from that of eager execution by {off:.2g} times its length "
            "for the same task: TensorFlow compiles an operation of the model or the loss incorrectly. "
            "A known case is pooling with tf.reduce_max, vectorised under XLA: use "
            "metalearn.layers.MaxPooling2D. Otherwise disable XLA (jit_compile=False), or map tasks one "
            "after the other (mapping='sequential'). check_derivatives=False disables the check"
        )
    return off


def _moved(phi: Meta) -> Meta:
    """Return phi with entries perturbed by a few units in the last place, with alternating signs."""

    def moved(leaf: tf.Tensor) -> tf.Tensor:
        signs = 1 - 2 * (tf.range(tf.size(leaf)) % 2)
        return leaf * (1 + ULPS * epsilon(leaf.dtype) * tf.cast(tf.reshape(signs, leaf.shape), leaf.dtype))

    return tf.nest.map_structure(moved, phi)

"""Whether the compiled program computes what eager execution does: compilers have faults, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metalearn.execution.choice import always_sequential
from metalearn.nest import epsilon, flat
from metalearn.problems.learner import Posed
from metalearn.training.carrying import Carried
from metalearn.types import Meta, Task

TOLERANCE = {"float64": 1e-6, "float32": 1e-2}
"""Relative difference of two meta-gradients that rounding in another order may make over some inner steps."""

SMALLEST = 1e-30
"""Length below which a gradient counts as zero."""

ULPS, SENSITIVE = 16, 3
"""Units in the last place by which phi is moved to see what rounding does, and how much more is a fault."""


def copies(structure: Any) -> Any:
    """Return a structure of the same shapes, with the first entry of every leaf repeated."""
    return tf.nest.map_structure(lambda leaf: tf.broadcast_to(leaf[:1], leaf.shape), structure)


def alike(block: Task, carried: Carried) -> tuple[Task, Carried]:
    """Return a block of tasks ``[stored, T, ...]``, all of them its first one, and inner loops likewise."""
    tasks = tf.nest.map_structure(lambda leaf: tf.broadcast_to(leaf[:1, :1], leaf.shape), block)
    return tasks, carried._replace(inner=copies(carried.inner))


def disagreement(
    gradient: Meta, estimate: Callable[..., Meta], posed: Posed, tasks: Task, carried: Carried
) -> float:
    """Return how far a program's meta-gradient of copies of one task is from eager execution's.

    The mean over copies is the meta-gradient of a single task, which eager execution has in little time;
    where a model draws noise for each copy it has to take them all.

    Where rounding alone decides the meta-gradient, as it may through many steps or the first one of Adam, the
    two differ and nothing is wrong: that is so if moving phi by as little as rounding does moves it as much.

    Args:
        gradient: what the program returned for ``tasks``.
        estimate: ``(phi, tasks, carried=...) -> meta-gradient``, called in eager execution.
        posed: phi, and what the learner makes of the tasks.
        tasks: copies of one task, ``[T, ...]``.
        carried: what the program was given beside them; inner loops are copies, too.

    Returns:
        ``|g - g'| / |g'|``; 0 where either is not finite.

    Raises:
        ValueError: if it is above ``TOLERANCE``, with the remedy.
    """
    if all(bool(tf.reduce_all(leaf == leaf[:1])) for leaf in tf.nest.flatten(posed.tasks)):
        tasks, inner = tf.nest.map_structure(lambda leaf: leaf[:1], (tasks, carried.inner))
        carried = carried._replace(inner=inner)

    def eager(phi: Meta) -> tf.Tensor:
        with always_sequential():
            return flat(estimate(phi, tasks, carried=carried))

    expected, found = eager(posed.phi), flat(gradient)
    if not bool(tf.reduce_all(tf.math.is_finite(tf.stack([found, expected])))):
        return 0.0  # training says so itself

    def distance(other: tf.Tensor) -> float:
        return float(tf.norm(other - expected) / tf.maximum(tf.norm(expected), SMALLEST))

    off = distance(found)
    if off > TOLERANCE.get(found.dtype.name, 1e-1) and off > SENSITIVE * distance(eager(_moved(posed.phi))):
        raise ValueError(
            f"the compiled program's meta-gradient is {off:.2g} times its length away from that of eager "
            "execution, for the same task: TensorFlow compiles an operation of the model or the loss wrong. "
            "Known of this kind is pooling by tf.reduce_max, vectorised under XLA: use "
            "metalearn.layers.MaxPooling2D. Otherwise leave XLA out (jit_compile=False), or map tasks one "
            "after the other (mapping='sequential'). check_derivatives=False turns the check off"
        )
    return off


def _moved(phi: Meta) -> Meta:
    """Return phi moved by a few units in the last place of its entries, up and down in turn."""

    def moved(leaf: tf.Tensor) -> tf.Tensor:
        signs = 1 - 2 * (tf.range(tf.size(leaf)) % 2)
        return leaf * (1 + ULPS * epsilon(leaf.dtype) * tf.cast(tf.reshape(signs, leaf.shape), leaf.dtype))

    return tf.nest.map_structure(moved, phi)

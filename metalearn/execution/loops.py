"""Loops over inner steps, as a Python loop (for few steps) or as a loop in the graph.

A Python loop copies its body into the graph ``length`` times, which XLA can fuse across steps; a graph
loop keeps compile time and memory for activations independent of ``length``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metalearn.types import Structure

Body = Callable[[Structure, Any], Structure]
"""``(carry, step) -> carry``; ``step`` is an int in a Python loop, a scalar tensor in a graph loop."""


def fold(body: Body, carry: Structure, length: int, *, in_graph: bool) -> Structure:
    """Return ``body(... body(body(carry, 0), 1) ..., length - 1)``.

    Args:
        body: ``(carry, step) -> carry`` with unchanged structure, shapes and types.
        carry: nested tensors.
        length: number of steps, at least 0.
        in_graph: loop with ``tf.while_loop`` instead of Python.
    """
    if not in_graph:
        for step in range(length):
            carry = body(carry, step)
        return carry
    _, carry = tf.while_loop(
        lambda step, _: step < length,
        lambda step, carry: (step + 1, body(carry, step)),
        (tf.constant(0), carry),
        maximum_iterations=length,
    )
    return carry


def scan(
    body: Body, carry: Structure, length: int, *, in_graph: bool
) -> tuple[Structure, Callable[[Any], Structure]]:
    """Like :func:`fold`, and also return ``before``: ``before(step)`` is the carry before that step.

    ``step`` is the argument of the body in a loop of the same kind; ``before(slice(None))`` of a graph loop
    is the complete history, with steps as the first axis.
    """
    if not in_graph:
        visited = []
        for step in range(length):
            visited.append(carry)
            carry = body(carry, step)
        return carry, lambda step: visited[step]

    def record(both: Structure, step: tf.Tensor) -> Structure:
        carry, arrays = both
        written = [
            array.write(step, leaf) for array, leaf in zip(arrays, tf.nest.flatten(carry), strict=True)
        ]
        return body(carry, step), written

    arrays = [
        tf.TensorArray(leaf.dtype, size=length, element_shape=leaf.shape) for leaf in tf.nest.flatten(carry)
    ]
    carry, arrays = fold(record, (carry, arrays), length, in_graph=True)
    stacked = [array.stack() for array in arrays]
    return carry, lambda step: tf.nest.pack_sequence_as(carry, [leaf[step] for leaf in stacked])

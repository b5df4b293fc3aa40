"""What results of a graph read: the values that a compiler computes for them."""

from __future__ import annotations

import tensorflow as tf

from metalearn.types import Structure


def read_for(results: Structure) -> dict[int, tf.Tensor]:
    """Return all tensors that are computed for ``results``, by their ``id``.

    Args:
        results: tensors of one graph.
    """
    found: dict[int, tf.Tensor] = {}
    remaining = tf.nest.flatten(results)
    while remaining:
        value = remaining.pop()
        if id(value) not in found:
            found[id(value)] = value
            remaining += read_by(value)
    return found


def read_by(value: tf.Tensor) -> list[tf.Tensor]:
    """Return the tensors that are read to compute a tensor, without those between fused operations."""
    operation = value.op
    if operation.type == "IdentityN":  # of a custom gradient, which passes its arguments through it
        return [operation.inputs[value.value_index]]
    if operation.type == "Sum" and operation.inputs[0].op.type == "Mul":
        return list(operation.inputs[0].op.inputs)
    return list(operation.inputs)

"""The parameters of the last layers before a model's outputs, from the graph of its call."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras
import tensorflow as tf

from metalearn.nn import functional
from metalearn.nn.names import layer_of
from metalearn.nn.tracing import trace
from metalearn.types import Parameters, Structure

CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def output_keys(model: keras.Model, keys: Collection[str]) -> list[str]:
    """Return the parameters of the last layers before a model's outputs, in the order of the model.

    A call is traced, and its operations are followed backward from every output. The search ends at the first
    layer on each path with a parameter that enters directly and not through the data; layers without
    parameters (activations, sums, reshaping) are skipped.

    Args:
        model: a built model.
        keys: the keys of the considered parameters; others are treated as constants.

    Raises:
        ValueError: if the shapes of the inputs are unknown, or a ``tf.function`` takes the parameters of
            several layers, whose order is then unknown.
    """

    def outputs(parameters: Parameters, state: Parameters, inputs: Structure) -> Structure:
        return functional.apply(model, parameters, inputs, state=state)

    traced = trace(model, outputs)
    counted = frozenset(keys)
    sources = {name: found & (counted | {""}) for name, found in traced.dependencies().items()}
    layers: set[str] = set()
    waiting, seen = tf.nest.flatten(traced.returned), set()
    while waiting:
        tensor = waiting.pop()
        if tensor.op.name in seen:
            continue
        seen.add(tensor.op.name)
        owners = _owners(tensor, sources)
        layers |= owners
        if not owners:
            waiting += [each for each in tensor.op.inputs if _carries_data(each, sources)]
    return [key for key in functional.parameters(model) if key in counted and layer_of(key) in layers]


def _owners(tensor: Any, sources: dict[str, frozenset[str]]) -> set[str]:
    """Return the layers with parameters that enter an operation directly."""
    operation = tensor.op
    entering = [sources[each.op.name] for each in operation.inputs] or [sources[operation.name]]
    if "" not in sources[operation.name]:
        entering = [sources[operation.name]]
    owners = {layer_of(key) for found in entering if "" not in found for key in found}
    if len(owners) > 1 and operation.type in CALLS:
        raise ValueError(f"the layers {', '.join(sorted(owners))} are called within one tf.function")
    return owners


def _carries_data(tensor: Any, sources: dict[str, frozenset[str]]) -> bool:
    # Not through integers: shapes and indices determine the arrangement of outputs, not their values.
    arranges = tensor.dtype.is_integer or tensor.dtype.is_bool
    return "" in sources[tensor.op.name] and not arranges

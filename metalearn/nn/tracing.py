"""Dependencies of a model's outputs, from a traced call on placeholders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from metalearn.nn import functional
from metalearn.types import Parameters, Structure

EXAMPLES = 2
"""The length of the axis of examples; an axis of length 1 could be broadcast."""


class Trace(NamedTuple):
    """A call of a model in a graph.

    Attributes:
        parameters: the placeholders of the parameters by key.
        state: the placeholders of the non-trainable values by key.
        inputs: the placeholders of the inputs.
        returned: the result of the traced function.
    """

    parameters: Parameters
    state: Parameters
    inputs: list[tf.Tensor]
    returned: Any

    def sources(self, tensors: Iterable[tf.Tensor]) -> set[str]:
        """Return the names of all placeholders on which any of ``tensors`` depends."""
        found = self.dependencies()
        return set().union(*(found[tensor.op.name] for tensor in tensors))

    def dependencies(self) -> dict[str, frozenset[str]]:
        """Return for every operation, by name, the keys on which its values depend; ``""`` for the inputs."""
        placeholders = {tensor.op.name: key for key, tensor in {**self.state, **self.parameters}.items()}
        placeholders |= {tensor.op.name: "" for tensor in self.inputs}
        found: dict[str, frozenset[str]] = {}
        # The operations of a function's graph are in the order of their creation.
        for operation in self.inputs[0].graph.get_operations():
            own = {placeholders[operation.name]} if operation.name in placeholders else set()
            found[operation.name] = frozenset(own.union(*(found[each.op.name] for each in operation.inputs)))
        return found


def trace(model: keras.Model, function: Callable[[Parameters, Parameters, Structure], Structure]) -> Trace:
    """Trace ``function(parameters, state, inputs)`` of a model on placeholders.

    Raises:
        ValueError: if the shapes of the model's inputs are unknown, with the remedy.
    """
    inputs = input_spec(model)
    if inputs is None:
        raise ValueError(
            f"the shapes of the inputs of model {model.name!r} are unknown, so its call cannot be "
            "traced: give it a keras.Input, or let its call take one argument, a tensor or a list or dict "
            "of tensors, and call it once"
        )
    found: list[Trace] = []

    def traced(parameters: Parameters, state: Parameters, inputs: Structure) -> None:
        returned = function(parameters, state, inputs)
        found.append(Trace(parameters, state, tf.nest.flatten(inputs), returned))

    specs = tf.nest.map_structure(
        tf.TensorSpec.from_tensor, (functional.parameters(model), functional.state(model))
    )
    tf.function(traced, autograph=False).get_concrete_function(*specs, inputs)
    return found[-1]


def input_spec(model: keras.Model, *leading: int) -> Structure | None:
    """Return the shapes and types of a model's inputs for a few examples; None if they are unknown.

    Args:
        model: a built model. A subclassed model knows only the shape with which it was built.
        leading: the axes before that of the examples.
    """

    def spec(shape: Any, dtype: str) -> tf.TensorSpec:
        return tf.TensorSpec([*leading, EXAMPLES, *shape[1:]], dtype)

    if getattr(model, "inputs", None):
        given = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
        return keras.tree.map_structure(lambda tensor: spec(tensor.shape, tensor.dtype), given)
    dtype = getattr(model, "input_dtype", None) or model.compute_dtype
    return _map_shapes(lambda shape: spec(shape, dtype), (model.get_build_config() or {}).get("input_shape"))


def _map_shapes(function: Callable[[Any], Any], shapes: Any) -> Any:
    if isinstance(shapes, dict):
        mapped = {key: _map_shapes(function, shape) for key, shape in shapes.items()}
        return None if None in mapped.values() else mapped
    if not isinstance(shapes, list | tuple) or not shapes:
        return None
    if all(size is None or isinstance(size, int) for size in shapes):
        return function(shapes)
    mapped_list = [_map_shapes(function, shape) for shape in shapes]
    return None if None in mapped_list else mapped_list

"""Computation of a model in the type of the given parameters, independent of the model's own type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from metalearn.types import Parameters

DOUBLE = keras.dtype_policies.get("float64")


def needs_double(model: keras.Model, parameters: Parameters) -> bool:
    """Return whether parameters are in float64 but the model is not."""
    given = [value.dtype for value in parameters.values()]
    own = [variable.dtype for variable in model.trainable_variables]
    return bool(given) and set(given) == {tf.float64} and set(own) != {"float64"}


@contextmanager
def in_double(model: keras.Model) -> Iterator[None]:
    """Make all layers of a model compute in float64 within the context.

    Derivatives are compared with differences in float64, although models are built in float32. Constants that
    a layer stores in float32 are not changed.
    """
    layers = [model, *model._flatten_layers(include_self=False)]
    # The functional model inside a sequential model calls its layers, but is not one of them.
    sequential = [layer for layer in layers if isinstance(layer, keras.Sequential)]
    layers += [layer._functional for layer in sequential]
    # A functional model casts to the types of its symbolic inputs, a stateless scope to those of variables.
    typed = [tensor for layer in layers for tensor in getattr(layer, "inputs", None) or ()]
    # A sequential model casts to the type of its input layer.
    typed += [
        first for one in sequential for first in one._layers[:1] if isinstance(first, keras.layers.InputLayer)
    ]
    typed = [each for each in (*typed, *model.variables) if each._dtype.startswith("float")]
    policies = [layer._dtype_policy for layer in layers]
    types = [each._dtype for each in typed]
    try:
        for layer in layers:
            layer._dtype_policy = DOUBLE  # the public setter may quantise layers
        for each in typed:
            each._dtype = "float64"
        yield
    finally:
        for layer, policy in zip(layers, policies, strict=True):
            layer._dtype_policy = policy
        for each, dtype in zip(typed, types, strict=True):
            each._dtype = dtype

"""Random layers: their seeds are derived from one seed, or the layers are disabled.

Each random layer of Keras has a ``keras.random.SeedGenerator``, whose state is a variable. A call of a model
is a pure function of one seed if the states of all generators are functions of this seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import tensorflow as tf

from metalearn.nn.names import named_variables
from metalearn.random import fold_in
from metalearn.types import Parameters


def generator_keys(model: keras.Model) -> list[str]:
    """Return the keys of the states of a built model's seed generators, in the order of its variables."""
    states = {
        id(generator.state) for layer in model._flatten_layers() for generator in layer._seed_generators
    }
    return [named.key for named in named_variables(model) if id(named.variable) in states]


def generator_states(model: keras.Model, noise: tf.Tensor) -> Parameters:
    """Return a state for every seed generator of a model, a pure function of one seed.

    ::

        state_i = fold_in(noise, i)         by Philox, i the index of the generator in the model

    Args:
        model: a built model.
        noise: a seed, ``[2]`` integers.

    Returns:
        States ``[2]`` by key, for ``functional.call(..., state={**functional.state(model), **states})``.
    """
    keys = set(generator_keys(model))
    found: Parameters = {}
    for named in named_variables(model):
        if named.key in keys:
            found[named.key] = tf.cast(fold_in(noise, len(found)), named.variable.dtype)
    return found


@contextmanager
def silenced(model: keras.Model) -> Iterator[None]:
    """Call the layers that own seed generators with ``training=False`` within the context.

    Such a layer also passes ``training=False`` to nested layers if it passes the flag explicitly.
    """
    with ExitStack() as stack:
        for layer in model._flatten_layers():
            if layer._seed_generators and layer._call_has_training_arg:
                stack.enter_context(_called_with(layer, training=False))
        yield


@contextmanager
def _called_with(layer: keras.Layer, **fixed: Any) -> Iterator[None]:
    """Fix arguments of a layer's ``call``; ``Layer.__call__`` looks it up on the instance."""
    attributes = vars(layer)
    before, original = attributes.get("call"), layer.call

    def call(*arguments: Any, **options: Any) -> Any:
        return original(*arguments, **{**options, **fixed})

    _set(attributes, call)
    try:
        yield
    finally:
        _set(attributes, before)


def _set(attributes: dict[str, Any], call: Callable[..., Any] | None) -> None:
    # Not setattr, which Keras tracks, and rejects for some built layers.
    if call is None:
        del attributes["call"]
    else:
        attributes["call"] = call

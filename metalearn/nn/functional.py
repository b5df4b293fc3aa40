"""A Keras model as a pure function of its parameters.

``variable.assign_sub(rate * gradient)`` cuts the gradient tape: what was assigned is a new value with
no history, so nothing can be differentiated through the update. Here parameters are tensors in a
dictionary, and a model is a function of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from metalearn.types import Parameters


def parameters(model: keras.Model) -> Parameters:
    """Return the model's trainable variables as tensors, keyed by their path inside the model.

    Keys are unique within a model and the same in every process: layer names as given by the user,
    automatic names (``dense_7``) renumbered by their place in the model (``dense``, ``dense_1``). A given
    name that looks automatic is renumbered too: Keras does not keep who chose it.

    Raises:
        ValueError: if the model has not been built.
    """
    return _values(model, trainable=True)


def state(model: keras.Model) -> Parameters:
    """Return the non-trainable variables (moving statistics, random seeds) as :func:`parameters` does."""
    return _values(model, trainable=False)


def initialize(model: keras.Model, seed: int) -> Parameters:
    """Draw fresh parameters from each layer's own initializers, as a pure function of ``seed``.

    A variable whose layer does not keep a Keras initializer as ``<name>_initializer`` starts from the value
    that it holds in ``model``.
    """
    owners = {id(variable): layer for layer in model._flatten_layers() for variable in _own(layer)}
    drawn = {}
    for index, (key, variable) in enumerate(_named_variables(model)):
        if variable.trainable:
            owner = owners.get(id(variable))
            drawn[key] = _draw(
                owner, variable, int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
            )
    return drawn


def _own(layer: keras.Layer) -> list[keras.Variable]:
    inner = {
        id(variable) for child in layer._flatten_layers(include_self=False) for variable in child.variables
    }
    return [variable for variable in layer.variables if id(variable) not in inner]


def _draw(owner: keras.Layer | None, variable: keras.Variable, entropy: int) -> tf.Tensor:
    initializer = getattr(owner, f"{variable.name}_initializer", None)
    if not isinstance(initializer, keras.Initializer):
        return tf.convert_to_tensor(variable.value)
    config = initializer.get_config()
    if "seed" in config:
        initializer = type(initializer).from_config({**config, "seed": entropy >> 1})
    value = tf.convert_to_tensor(initializer(variable.shape, dtype=variable.dtype))
    if isinstance(owner, keras.layers.LSTMCell) and variable.name == "bias" and owner.unit_forget_bias:
        units = owner.units  # gates: input, forget, cell, output
        return tf.concat([value[:units], tf.ones_like(value[:units]), value[2 * units :]], axis=0)
    return value


def apply(
    model: keras.Model,
    parameters: Parameters,
    inputs: tf.Tensor,
    *,
    state: Parameters | None = None,
    training: bool = False,
) -> tf.Tensor:
    """Return ``model(inputs)`` with ``parameters`` in place of its variables; change nothing.

    Args:
        model: any built Keras model.
        parameters: every trainable variable, keyed as by :func:`parameters`.
        inputs: ``[N, *input_shape]``.
        state: non-trainable values keyed as by :func:`state`; the model's own if not given.
        training: Keras' flag for dropout and batch statistics.

    Raises:
        ValueError: if keys are missing or unknown, or the model has not been built.
    """
    return apply_with_state(model, parameters, inputs, state=state, training=training)[0]


def apply_with_state(
    model: keras.Model,
    parameters: Parameters,
    inputs: tf.Tensor,
    *,
    state: Parameters | None = None,
    training: bool = False,
) -> tuple[tf.Tensor, Parameters]:
    """Like :func:`apply`, and also return the non-trainable values after the call."""
    return _call(model, model, parameters, inputs, state, training)


def features(model: keras.Model, parameters: Parameters, inputs: tf.Tensor) -> tf.Tensor:
    """Return what the last layer of a model is given, ``[N, F]``, arguments as of :func:`apply`."""
    body = keras.Model(model.inputs, model.layers[-1].input)
    return _call(body, model, parameters, inputs, None, False)[0]


def key_of(model: keras.Model, variable: keras.Variable) -> str:
    """Return the key of one of a model's variables, as :func:`parameters` and :func:`state` have it."""
    return next(key for key, value in _named_variables(model) if value is variable)


def _call(
    network: keras.Model,
    model: keras.Model,
    parameters: Parameters,
    inputs: tf.Tensor,
    state: Parameters | None,
    training: bool,
) -> tuple[tf.Tensor, Parameters]:
    """Call ``network``, which is ``model`` or a part of it, with ``parameters`` of the model."""
    named = list(_named_variables(model))
    state = _values(model, trainable=False) if state is None else state
    keys = {id(variable): key for key, variable in named}
    trainable = [keys[id(variable)] for variable in model.trainable_variables]
    non_trainable = [keys[id(variable)] for variable in model.non_trainable_variables]
    _require_keys("parameters", parameters, trainable)
    _require_keys("state", state, non_trainable)
    values = [parameters.get(key, state.get(key)) for key, _ in named]
    variables = [variable for _, variable in named]
    # Not model.stateless_call: it hands training to models whose call does not take it.
    with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))) as scope:
        outputs = network(inputs, training=training)
    after = {
        key: _current(scope, variable, value) for (key, variable), value in zip(named, values, strict=True)
    }
    return outputs, {key: after[key] for key in non_trainable}


def _current(scope: keras.StatelessScope, variable: keras.Variable, given: tf.Tensor) -> tf.Tensor:
    value = scope.get_current_value(variable)
    return given if value is None else value


def _values(model: keras.Model, trainable: bool) -> Parameters:
    return {
        key: tf.convert_to_tensor(variable.value)
        for key, variable in _named_variables(model)
        if variable.trainable is trainable
    }


def _require_keys(name: str, given: Parameters, expected: list[str]) -> None:
    missing, unknown = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if missing or unknown:
        raise ValueError(f"{name} do not fit the model: missing {missing}, unknown {unknown}")


def _named_variables(model: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    """Yield every variable of a built model once, depth first, with its stable key."""
    unbuilt = [layer.name for layer in model._flatten_layers() if not layer.built]
    if unbuilt:
        raise ValueError(
            f"model {model.name!r} is not built (layers without variables yet: {', '.join(unbuilt)}): "
            "call it once on an input, or give it a keras.Input"
        )
    yield from _walk(model, "", set())


def _walk(layer: keras.Layer, prefix: str, seen: set[int]) -> Iterator[tuple[str, keras.Variable]]:
    taken: set[str] = set()
    for child in layer._flatten_layers(include_self=False, recursive=False):
        if id(child) in seen:
            continue
        seen.add(id(child))
        name = _unique(_without_counter(child.name, type(child).__name__), taken)
        yield from _walk(child, f"{prefix}{name}/", seen)
    for variable in layer.variables:
        if id(variable) not in seen:
            seen.add(id(variable))
            yield prefix + _unique(_without_counter(variable.name, "variable"), taken), variable


def _without_counter(name: str, kind: str) -> str:
    """Strip the process-wide counter from an automatic name: ``("dense_7", "Dense") -> "dense"``."""
    base = re.sub(r"_\d+$", "", name)
    return base if base.replace("_", "").endswith(kind.lower()) else name


def _unique(name: str, taken: set[str]) -> str:
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate

"""Copies of a model with its weights, created from its configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from metalearn.nn.names import named_variables
from metalearn.types import Parameters

Config = dict[str, Any]


def clone(
    model: keras.Model, values: Parameters | None = None, rewrite: Callable[[Config], Config] | None = None
) -> keras.Model:
    """Return a new model with the configuration and the weights of ``model``, which is not changed.

    User-defined layers and models are created by their own ``from_config``, registered with Keras or not.

    Args:
        model: a built model.
        values: values that replace those of the model, by the keys of
            :func:`metalearn.functional.parameters` and :func:`metalearn.functional.state`.
        rewrite: a function that changes the configuration, but not the keys and shapes of the variables.

    Returns:
        A built model that is not compiled.

    Raises:
        ValueError: if the model is not built, or its configuration does not reproduce its variables.
    """
    keys = _keys(model)
    known = {keras.saving.get_registered_name(type(layer)): type(layer) for layer in model._flatten_layers()}
    try:
        config = keras.saving.serialize_keras_object(model)
        config = rewrite(config) if rewrite else config
        config.pop("compile_config", None)
        made = keras.saving.deserialize_keras_object(config, custom_objects=known, safe_mode=False)
        found = _keys(made)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            f"the model {model.name!r} cannot be rebuilt from its configuration ({_root(error)})"
        ) from error
    if found != keys:
        raise ValueError(
            f"the model {model.name!r} cannot be rebuilt from its configuration with the same parameters, "
            "for example because nested models share a layer"
        )
    made.set_weights(model.get_weights())
    variables = {named.key: named.variable for named in named_variables(made)}
    for key, value in (values or {}).items():
        variables[key].assign(value)
    return made


def _keys(model: keras.Model) -> list[str]:
    return [named.key for named in named_variables(model)]


def _root(error: BaseException) -> str:
    """Return the cause of an error: Keras puts the message of a constructor into the whole configuration."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).partition("\n")[0]

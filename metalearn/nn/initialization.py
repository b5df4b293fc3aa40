"""Initial parameters of a model from the initializers of its variables and a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metalearn.nn.names import NamedVariable, named_variables
from metalearn.types import Parameters

Initializer = Callable[..., Any]


def draw(model: keras.Model, seed: int) -> Parameters:
    """Draw every trainable variable of a model; see :func:`metalearn.functional.initialize`."""
    rebuilt: dict[int, dict[int, Initializer]] = {}
    drawn = {}
    for index, named in enumerate(named_variables(model)):
        if not named.variable.trainable:
            continue
        entropy = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        initializer = _attribute(named)
        if initializer is None:
            owner = id(named.owner)
            if owner not in rebuilt:
                rebuilt[owner] = _initializers(named.owner, entropy)
            initializer = rebuilt[owner].get(id(named.variable))
        if initializer is None:
            raise _refusal(named, "its initializer cannot be found")
        with tf.init_scope():  # in eager execution, because XLA draws other numbers
            drawn[named.key] = _draw(named, initializer, entropy)
    return drawn


def _attribute(named: NamedVariable) -> Initializer | None:
    """Return the initializer that a layer stores by the name of a variable, such as ``kernel_initializer``.

    Layers of Keras also have ``recurrent_initializer`` for ``recurrent_kernel``.
    """
    name = named.variable.name
    names = [name, name.removesuffix("_kernel")] if _is_of_keras(named.owner) else [name]
    found = (getattr(named.owner, f"{each}_initializer", None) for each in names)
    return next((each for each in found if callable(each)), None)


def _draw(named: NamedVariable, initializer: Initializer, entropy: int) -> tf.Tensor:
    owner, variable = named.owner, named.variable
    value = _values(named, initializer, entropy)
    # User-defined functions may use any random generator.
    if not _is_of_keras(initializer) and not np.array_equal(value, _values(named, initializer, entropy)):
        raise _refusal(named, "its initializer has its own random generator")
    if _is_of_keras(owner) and variable.name == "bias" and getattr(owner, "unit_forget_bias", False):
        units = variable.shape[0] // 4  # gates: input, forget, cell, output
        return tf.concat([value[:units], tf.ones_like(value[:units]), value[2 * units :]], axis=0)
    return value


def _values(named: NamedVariable, initializer: Initializer, entropy: int) -> tf.Tensor:
    shape, dtype = named.variable.shape, named.variable.dtype
    with _reproducible(entropy):
        if isinstance(initializer, keras.Initializer):
            config = initializer.get_config()
            if "seed" in config:
                initializer = type(initializer).from_config({**config, "seed": entropy >> 1})
            elif not _is_of_keras(initializer):  # a new one uses the seeded generators of _reproducible
                initializer = type(initializer).from_config(config)
        return tf.cast(tf.convert_to_tensor(initializer(shape, dtype=dtype)), dtype)


def _initializers(layer: keras.Layer, entropy: int) -> dict[int, Initializer]:
    """Return the initializers that can be found for a layer's own variables, by the variables' identities.

    The layer is created again from its configuration in a scope in which Keras defers initial values, and
    therefore stores the initializers. Variables are matched by order, name and shape.
    """
    kind = type(layer)
    try:
        with _reproducible(entropy), keras.StatelessScope(initialize_variables=False):
            again = keras.saving.deserialize_keras_object(
                keras.saving.serialize_keras_object(layer),
                custom_objects={keras.saving.get_registered_name(kind): kind},
                safe_mode=False,
            )
            if not again.built:
                again.build_from_config(layer.get_build_config() or {})
    except Exception:  # noqa: BLE001 - the constructor of a user-defined layer may raise anything
        return {}
    pairs = list(zip(_own(layer), _own(again), strict=False))
    if [_unnumbered(ours) for ours, _ in pairs] != [_unnumbered(theirs) for _, theirs in pairs]:
        return {}
    if len(pairs) != len(_own(layer)):
        return {}
    return {id(ours): theirs._initializer for ours, theirs in pairs if theirs._initializer is not None}


def _own(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights of a layer without those of nested layers."""
    inner = {
        id(variable) for child in layer._flatten_layers(include_self=False) for variable in child.variables
    }
    return [variable for variable in layer.weights if id(variable) not in inner]


def _unnumbered(variable: keras.Variable) -> tuple[str, tuple[int, ...], str]:
    name = "variable" if variable.name.startswith("variable") else variable.name
    return name, tuple(variable.shape), str(variable.dtype)


def _is_of_keras(instance: object) -> bool:
    return type(instance).__module__.startswith("keras.")


@contextmanager
def _reproducible(entropy: int) -> Iterator[None]:
    """Seed Python's and NumPy's generators, and restore them afterwards.

    Keras draws the seeds of initializers without a given seed from Python's generator.
    """
    before, before_numpy = random.getstate(), np.random.get_state()
    random.seed(entropy)
    np.random.seed(entropy)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(before_numpy)


def _refusal(named: NamedVariable, reason: str) -> ValueError:
    return ValueError(
        f"{named.key!r} ({type(named.owner).__name__}) cannot be drawn from a seed: {reason}. Create it with "
        "add_weight(initializer=a keras.Initializer) in a layer that has a get_config, store the initializer "
        f"as the layer's attribute {named.variable.name}_initializer, or start from the model's current "
        'values: initialize="model"'
    )

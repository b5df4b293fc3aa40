"""Creation and configuration of the kernel and bias of a layer, with the arguments of Keras' layers."""

from __future__ import annotations

from typing import Any

import keras

from metalearn.nn.layers.normalization import Shape

KINDS = {
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
}

DEFAULTS = {"kernel_initializer": "glorot_uniform", "bias_initializer": "zeros"}


def take(layer: keras.layers.Layer, options: dict[str, Any]) -> None:
    """Move initializers, regularizers and constraints of kernel and bias from options to attributes."""
    for kind, module in KINDS.items():
        for name in (f"kernel_{kind}", f"bias_{kind}"):
            setattr(layer, name, module.get(options.pop(name, DEFAULTS.get(name))))


def add(layer: keras.layers.Layer, name: str, shape: Shape) -> keras.Variable:
    """Add the weight ``name`` (kernel or bias) to a layer."""
    return layer.add_weight(
        name=name, shape=shape, **{kind: getattr(layer, f"{name}_{kind}") for kind in KINDS}
    )


def config(layer: keras.layers.Layer) -> dict[str, Any]:
    """Return the arguments of :func:`take`, the activation and its regularizer in serialised form."""
    kept = {
        f"{name}_{kind}": module.serialize(getattr(layer, f"{name}_{kind}"))
        for kind, module in KINDS.items()
        for name in ("kernel", "bias")
    }
    return {
        **kept,
        "activation": keras.activations.serialize(layer.activation),
        "activity_regularizer": keras.regularizers.serialize(layer.activity_regularizer),
    }

"""Detection and replacement of layers with wrong second derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from metalearn.nn.cloning import clone
from metalearn.nn.layers.activations import softsign
from metalearn.nn.layers.batch_normalization import BatchNormalization
from metalearn.nn.layers.group_normalization import GroupNormalization
from metalearn.nn.layers.layer_normalization import LayerNormalization
from metalearn.nn.layers.max_pooling import MaxPooling2D
from metalearn.nn.layers.resizing import Resizing, UpSampling2D

Config = dict[str, Any]

INEXACT: dict[str, Callable[[Config], bool]] = {
    "BatchNormalization": lambda config: config["trainable"],
    "GroupNormalization": lambda config: True,
    "LayerNormalization": lambda config: not config["rms_scaling"],
    "Resizing": lambda config: True,
    "SpectralNormalization": lambda config: True,
    "UpSampling2D": lambda config: config["interpolation"] != "nearest",
}
"""Layers of Keras with wrong or missing second derivatives, given their configuration."""

INEXACT_COMPILED = ("MaxPooling2D",)
"""Layers of Keras whose second derivatives are wrong only under XLA."""

INEXACT_OPERATIONS = ("LayerNorm", "Moments", "Resize", "Softsign")
"""Functions of ``keras.ops`` with wrong second derivatives, as stored by functional models."""

SOFTSIGNS = (keras.activations.softsign, keras.ops.softsign, tf.nn.softsign)

REPLACEMENTS: dict[str, type[keras.Layer]] = {
    "BatchNormalization": BatchNormalization,
    "GroupNormalization": GroupNormalization,
    "LayerNormalization": LayerNormalization,
    "MaxPooling2D": MaxPooling2D,
    "Resizing": Resizing,
    "UpSampling2D": UpSampling2D,
}

REPLACED = {**INEXACT, **dict.fromkeys(INEXACT_COMPILED, lambda config: True)}
"""The layers that ``exact`` replaces, given the configuration."""


def inexact_layers(model: keras.Layer) -> list[str]:
    """Return the layers whose second derivatives are wrong or missing in TensorFlow.

    They are Keras' batch normalisation (unless ``trainable=False``), layer, group and spectral normalisation,
    resizing of images other than by repetition, and ``softsign``. The computations of user-defined layers are
    not analysed.

    Args:
        model: a model or a layer; only layers that it has already created are found.

    Returns:
        Path and class of each layer, like ``"encoder/norm_1 (LayerNormalization)"``, in the order of the
        model.
    """
    return _faulty(model, INEXACT)


def exact(model: keras.Model) -> keras.Model:
    """Return the model with every inexact layer replaced by one with exact second derivatives.

    Max-pooling of images is replaced as well, because Keras' own is wrong under XLA.

    Functional and sequential models, nested in each other and with wrappers (``TimeDistributed``), are
    rebuilt from their configuration, with the same names, values of weights and keys of parameters.

    Args:
        model: a built model, which is not changed.

    Returns:
        A new model that is not compiled; ``model`` itself if all its layers are exact.

    Raises:
        ValueError: if the model is not built or cannot be rebuilt, or if inexact layers remain, naming
            them: layers within subclassed models, and spectral normalisation, which treats its singular
            vectors as constants by design.
    """
    found = _faulty(model, REPLACED)
    if not found:
        return model
    try:
        rebuilt = clone(model, rewrite=_rewritten)
    except ValueError as error:
        raise ValueError(f"{error}: create {', '.join(found)} with metalearn.layers") from error
    remaining = _faulty(rebuilt, REPLACED)
    if remaining:
        raise ValueError(
            f"{', '.join(remaining)} cannot be replaced by exact layers: in subclassed models, use the "
            f"layers of metalearn.layers ({', '.join(REPLACEMENTS)}, softsign); "
            "SpectralNormalization has no exact form, omit it or use the estimator first_order"
        )
    return rebuilt


def _faulty(model: keras.Layer, kinds: dict[str, Callable[[Config], bool]]) -> list[str]:
    """Return the layers of the kinds, and all uses of inexact functions."""
    return [f"{path} ({fault})" for path, layer in _walk(model, "", set()) if (fault := _fault(layer, kinds))]


def _walk(layer: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield a layer, all nested layers, and a functional model's calls of ``keras.ops``, with paths."""
    seen.add(id(layer))
    yield path or layer.name, layer
    within = list(getattr(layer, "operations", []))
    within += layer._flatten_layers(include_self=False, recursive=False) if _is_layer(layer) else []
    for child in within:
        if id(child) not in seen:
            yield from _walk(child, f"{path}/{child.name}" if path else child.name, seen)


def _is_layer(candidate: Any) -> bool:
    return isinstance(candidate, keras.layers.Layer)


def _fault(layer: Any, kinds: dict[str, Callable[[Config], bool]]) -> str | None:
    """Return the kind of a layer or operation with wrong second derivatives, else None."""
    if not _is_layer(layer):
        kind = type(layer).__name__
        return f"keras.ops, {kind}" if kind in INEXACT_OPERATIONS else None
    for kind, inexact in kinds.items():
        if isinstance(layer, getattr(keras.layers, kind)) and inexact(layer.get_config()):
            return kind
    if any(value is function for value in vars(layer).values() for function in SOFTSIGNS):
        return f"{type(layer).__name__}, softsign"
    return None


def _rewritten(config: Any) -> Any:
    """Return a model's configuration with the inexact layers and activations replaced."""
    if isinstance(config, list | tuple):
        return type(config)(map(_rewritten, config))
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "function" and config.get("config") == "softsign":
        return keras.saving.serialize_keras_object(softsign)
    kind = config.get("class_name")
    rewritten = {
        key: keras.saving.serialize_keras_object(softsign)
        if key.endswith("activation") and value == "softsign"
        else _rewritten(value)
        for key, value in config.items()
    }
    if config.get("module") == "keras.layers" and kind in REPLACEMENTS and REPLACED[kind](config["config"]):
        ours = REPLACEMENTS[kind]
        registered = keras.saving.get_registered_name(ours)
        return {**rewritten, "module": ours.__module__, "registered_name": registered}
    return rewritten

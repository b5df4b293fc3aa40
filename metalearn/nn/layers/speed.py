"""Replacement of Keras' layers by layers of this package with faster meta-gradients."""

from __future__ import annotations

from typing import Any

import keras

from metalearn.nn.cloning import clone
from metalearn.nn.layers.conv2d import Conv2D
from metalearn.nn.layers.dense import Dense
from metalearn.nn.layers.max_pooling import MaxPooling2D

FASTER: dict[str, type[keras.Layer]] = {"Conv2D": Conv2D, "Dense": Dense, "MaxPooling2D": MaxPooling2D}
"""The replacements, by the names of Keras' layers."""

UNKNOWN = ("lora_rank", "quantization_config")
"""Settings of Keras' layers that the replacements do not support."""


def fast(model: keras.Model) -> keras.Model:
    """Return the model with Keras' convolutions, dense layers and max-pooling replaced by faster ones.

    Functional and sequential models, nested in each other and with wrappers, are rebuilt from their
    configuration, with the same names, values of weights and keys of parameters. Layers with adapters (LoRA)
    or quantisation, and layers within subclassed models, are not replaced. Normalisation layers are replaced
    by :func:`metalearn.layers.exact`.

    Args:
        model: a built model, which is not changed. Height and width of its images have to be known.

    Returns:
        A new model that is not compiled.

    Raises:
        ValueError: if the model is not built or cannot be rebuilt.
    """
    return clone(model, rewrite=_rewritten)


def _rewritten(config: Any) -> Any:
    if isinstance(config, list | tuple):
        return type(config)(map(_rewritten, config))
    if not isinstance(config, dict):
        return config
    rewritten = {key: _rewritten(value) for key, value in config.items()}
    ours = FASTER.get(config.get("class_name", ""))
    if ours is None or config.get("module") != "keras.layers":
        return rewritten
    settings = rewritten["config"]
    if any(settings.pop(name, None) is not None for name in UNKNOWN):
        return config
    registered = keras.saving.get_registered_name(ours)
    return {**rewritten, "module": ours.__module__, "registered_name": registered}

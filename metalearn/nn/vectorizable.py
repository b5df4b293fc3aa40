"""Which models are mapped over tasks one after the other, without trying to build the vectorised form."""

from __future__ import annotations

import keras

from metalearn.nn.layers import Conv2D
from metalearn.nn.stateful import seeded_layers

NOT_VECTORIZABLE: tuple[type, ...] = (
    *(getattr(keras.layers, name) for name in dir(keras.layers) if "Conv" in name and name[0].isupper()),
    keras.layers.STFTSpectrogram,
    keras.layers.MelSpectrogram,
    keras.layers.SpectralNormalization,
)
"""Layers with filters that would differ by task, with Fourier transforms, and with iterations."""

FASTER_IN_TURN = (Conv2D,)
"""Layers that have a vectorised form which is slower: XLA's gathers take twice as long as TensorFlow's."""


def is_sequential(model: keras.Model) -> bool:
    """Return whether a built model holds a layer that cannot be mapped over tasks at once, or is slower so.

    Convolutions, recurrent layers that are a loop in the graph (``unroll=False``), and layers that draw
    random numbers in training: TensorFlow has no vectorised form of a draw whose seed differs by task. What
    else has no such form shows when it is built; that these are known saves tracing them twice.
    """
    return bool(seeded_layers(model)) or any(map(_is_known, model._flatten_layers()))


def _is_known(layer: keras.Layer) -> bool:
    is_a_loop = isinstance(layer, keras.layers.RNN) and not layer.unroll
    sorts = getattr(layer, "activation", None) is keras.activations.sparsemax
    return isinstance(layer, (*NOT_VECTORIZABLE, *FASTER_IN_TURN)) or is_a_loop or sorts

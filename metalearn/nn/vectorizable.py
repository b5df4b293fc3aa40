"""Models that are mapped over tasks one after the other without trying the vectorised form."""

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
"""Layers without a vectorised form: filters that differ between tasks, Fourier transforms, and loops."""

FASTER_IN_TURN = (Conv2D,)
"""Layers with a slower vectorised form: XLA's gathers take twice as long as TensorFlow's."""


def is_sequential(model: keras.Model) -> bool:
    """Return whether a built model has a layer without a vectorised form or with a slower one.

    These are convolutions, recurrent layers with a loop in the graph (``unroll=False``), and random layers:
    TensorFlow has no vectorised form of random numbers whose seeds differ between tasks. For other layers the
    vectorised form is tried; knowing these saves tracing them twice.
    """
    return bool(seeded_layers(model)) or any(map(_is_known, model._flatten_layers()))


def _is_known(layer: keras.Layer) -> bool:
    is_a_loop = isinstance(layer, keras.layers.RNN) and not layer.unroll
    sorts = getattr(layer, "activation", None) is keras.activations.sparsemax
    return isinstance(layer, (*NOT_VECTORIZABLE, *FASTER_IN_TURN)) or is_a_loop or sorts

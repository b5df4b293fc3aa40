"""The two calls of a model that modes use, with given moving statistics."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import tensorflow as tf

from metalearn.nn import functional
from metalearn.nn.modes.protocol import Judged
from metalearn.types import Parameters, Structure


def own_statistics(model: keras.Model, keys: Iterable[str]) -> Parameters:
    """Return the current values of the model's moving statistics."""
    state = functional.state(model)
    return {key: state[key] for key in keys}


def trained(
    model: keras.Model,
    parameters: Parameters,
    statistics: Parameters,
    inputs: Structure,
    noise: tf.Tensor | None = None,
) -> tuple[Structure, tf.Tensor | None, Parameters]:
    """Return the outputs and losses of a call in training mode, and the statistics after it."""
    before = {**functional.state(model), **statistics}
    outputs, losses, after = functional.call(
        model, parameters, inputs, state=before, training=True, noise=noise
    )
    return outputs, losses, {key: after[key] for key in statistics}


def judged(model: keras.Model, parameters: Parameters, statistics: Parameters, inputs: Structure) -> Judged:
    """Return the outputs and losses of a call in inference mode, normalised with the statistics."""
    before = {**functional.state(model), **statistics}
    return functional.call(model, parameters, inputs, state=before)[:2]

"""The two calls that modes are made of, with moving statistics in the place of the model's own."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import tensorflow as tf

from metalearn.nn import functional
from metalearn.nn.modes.protocol import Judged
from metalearn.types import Parameters, Structure


def own_statistics(model: keras.Model, keys: Iterable[str]) -> Parameters:
    """Return the model's own values of its moving statistics."""
    state = functional.state(model)
    return {key: state[key] for key in keys}


def trained(
    model: keras.Model,
    parameters: Parameters,
    statistics: Parameters,
    inputs: Structure,
    noise: tf.Tensor | None = None,
) -> tuple[Structure, tf.Tensor | None, Parameters]:
    """Return outputs and losses of a training call, and the statistics after it."""
    before = {**functional.state(model), **statistics}
    outputs, losses, after = functional.call(
        model, parameters, inputs, state=before, training=True, noise=noise
    )
    return outputs, losses, {key: after[key] for key in statistics}


def judged(model: keras.Model, parameters: Parameters, statistics: Parameters, inputs: Structure) -> Judged:
    """Return outputs and losses of a call that is not for training: normalised with the statistics."""
    before = {**functional.state(model), **statistics}
    return functional.call(model, parameters, inputs, state=before)[:2]

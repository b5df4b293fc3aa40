"""Which models can be mapped over tasks in one vectorised program."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from metalearn.execution.task_map import map_tasks
from metalearn.nn import functional
from metalearn.nn.stateful import batch_statistics, seeded_layers
from metalearn.nn.tracing import input_spec
from metalearn.types import Parameters, Structure, TaskMapping

CONVOLUTIONS: tuple[type, ...] = tuple(
    getattr(keras.layers, name) for name in dir(keras.layers) if "Conv" in name and name[0].isupper()
)
"""Layers with filters; ``tf.vectorized_map`` cannot convert a convolution whose filters differ by task."""


TASKS = 2
"""Tasks in the shapes that a layer of other origin is asked with."""

SIGNALS: tuple[type, ...] = (keras.layers.STFTSpectrogram, keras.layers.MelSpectrogram)
"""Layers with Fourier transforms, which have no vectorised form either."""


def mapping_for(model: keras.Model) -> TaskMapping:
    """Return how to map a built model over tasks with parameters of their own.

    ``"sequential"`` if it holds a convolution, a recurrent layer that is a loop in the graph
    (``unroll=False``) or another layer of Keras' whose second derivatives cannot be vectorised, as the audit
    of Keras found, or a layer that draws random numbers in training: TensorFlow has no vectorised form of a
    draw whose seed differs by task. ``"vectorized"`` if all other layers are Keras' own or of
    :mod:`metalearn.layers`. Layers of other origin are asked by vectorising the model's gradient on shapes
    alone, without numbers, as far as the shape of its input is known.
    """
    layers = list(model._flatten_layers())
    if any(_has_no_vectorized_form(layer) for layer in layers) or seeded_layers(model):
        return "sequential"
    known = ("keras.", "metalearn.nn.")
    if all(type(layer).__module__.startswith(known) for layer in layers) or _can_be_vectorized(model):
        return "vectorized"
    return "sequential"


def _has_no_vectorized_form(layer: keras.Layer) -> bool:
    is_a_loop = isinstance(layer, keras.layers.RNN) and not layer.unroll
    sorts = getattr(layer, "activation", None) is keras.activations.sparsemax
    iterates = isinstance(layer, keras.layers.SpectralNormalization)
    return isinstance(layer, (*CONVOLUTIONS, *SIGNALS)) or is_a_loop or sorts or iterates


def _can_be_vectorized(model: keras.Model) -> bool:
    """Return whether ``tf.vectorized_map`` has a form for all operations of the model and its gradient."""

    training = bool(batch_statistics(model))

    def gradient(parameters: Parameters, inputs: Structure) -> Parameters:
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            outputs, _, _ = functional.call(model, parameters, inputs, training=training)
            # Squared, so that the gradient also of a linear model takes its outputs.
            outputs = tf.nest.map_structure(tf.square, outputs)
        return tape.gradient(outputs, parameters, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    inputs = input_spec(model, TASKS)
    if inputs is None:
        return True
    parameters = {
        key: tf.TensorSpec([TASKS, *value.shape], value.dtype)
        for key, value in functional.parameters(model).items()
    }
    mapped = tf.function(lambda *arguments: map_tasks(gradient, *arguments), autograph=False)
    with _quiet():
        try:
            mapped.get_concrete_function(parameters, inputs)
        except (ValueError, NotImplementedError):
            return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep TensorFlow from logging the operation that it cannot convert."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)

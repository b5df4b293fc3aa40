"""The map over tasks: one vectorised program, or one task after the other, chosen by asking the model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

import keras
import tensorflow as tf

from metalearn import functional
from metalearn.types import Parameters, Structure, TaskMapping

CONVOLUTIONS: tuple[type, ...] = tuple(
    getattr(keras.layers, name) for name in dir(keras.layers) if "Conv" in name and name[0].isupper()
)
"""Layers with filters; ``tf.vectorized_map`` cannot convert a convolution whose filters differ by task."""


SIGNALS: tuple[type, ...] = (keras.layers.STFTSpectrogram, keras.layers.MelSpectrogram)
"""Layers with Fourier transforms, which have no vectorised form either."""


def map_tasks(
    function: Callable[..., Any], *arguments: Structure, mapping: TaskMapping = "vectorized"
) -> Structure:
    """Apply ``function`` to every task.

    Take gradients inside ``function``: a tape around the vectorised map makes XLA compile anew for every
    batch.

    Args:
        function: of one task: nested tensors to nested tensors.
        *arguments: nested tensors with a leading ``[T]``.
        mapping: ``"vectorized"``: one program on ``[T, ...]``, fails on operations without a vectorised
            form; ``"sequential"``: a loop over the tasks, for any function, in memory for one task at a
            time. Both give the same numbers up to rounding.

    Returns:
        What ``function`` returns, with a leading ``[T]``.
    """
    require_mapping(mapping)
    of_one_task = tf.autograph.experimental.do_not_convert(lambda stacked: function(*stacked))
    if mapping == "sequential":
        return _one_by_one(of_one_task, arguments)
    vectorized = _call_of_its_own(
        lambda stacked: tf.vectorized_map(of_one_task, stacked, fallback_to_while_loop=False)
    )
    return vectorized(arguments)


def _one_by_one(of_one_task: Callable[[Structure], Structure], stacked: Structure) -> Structure:
    if all(leaf.shape[0] == 1 for leaf in tf.nest.flatten(stacked)):  # a loop takes time to build
        only = of_one_task(tf.nest.map_structure(lambda leaf: tf.squeeze(leaf, [0]), stacked))
        return tf.nest.map_structure(lambda leaf: tf.expand_dims(leaf, 0), only)
    one = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape[1:], leaf.dtype), stacked)
    # Traced before the loop, which has to know what it will return.
    traced = _call_of_its_own(of_one_task).get_concrete_function(one)
    returned = tf.nest.map_structure(tf.TensorSpec.from_tensor, traced.structured_outputs)
    # One at a time: in a graph, map_fn would hold the activations of ten tasks.
    return tf.map_fn(traced, stacked, fn_output_signature=returned, parallel_iterations=1)


def _call_of_its_own(function: Callable[[Structure], Structure]) -> Any:
    """Return ``function`` as a call that TensorFlow's optimizer does not dissolve into the graph around it.

    Where a graph may take much memory, that optimizer sums gradients into temporary variables. Done within
    a ``tf.while_loop`` they are created once too often, and the second run of the graph fails with
    ``AlreadyExistsError``. XLA does dissolve the call.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def require_mapping(mapping: object) -> None:
    """Raise ValueError unless ``mapping`` is one of the two ways."""
    known = get_args(TaskMapping)
    if mapping not in known:
        raise ValueError(f"mapping must be one of {', '.join(known)}, got {mapping!r}")


def mapping_for(model: keras.Model) -> TaskMapping:
    """Return how to map a built model over tasks with parameters of their own.

    ``"sequential"`` if it holds a convolution, a recurrent layer that is a loop in the graph
    (``unroll=False``) or another layer of Keras' whose second derivatives cannot be vectorised, as the audit
    of Keras found; ``"vectorized"`` if all other layers are Keras' own or of :mod:`metalearn.layers`. Layers
    of other origin are asked by vectorising the model's gradient on shapes alone, without numbers, as far as
    the shape of its input is known.
    """
    layers = list(model._flatten_layers())
    if any(_has_no_vectorized_form(layer) for layer in layers):
        return "sequential"
    known = ("keras.", "metalearn.layers.")
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

    def gradient(parameters: Parameters, inputs: tf.Tensor) -> Parameters:
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            # Squared, so that the gradient also of a linear model takes its outputs.
            outputs = tf.nest.map_structure(tf.square, functional.apply(model, parameters, inputs))
        return tape.gradient(outputs, parameters, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    tasks, examples = 2, 2
    parameters = {
        key: tf.TensorSpec([tasks, *value.shape], value.dtype)
        for key, value in functional.parameters(model).items()
    }
    # A subclassed model knows only the shape that it was built with.
    shape = getattr(model, "input_shape", None) or (model.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, tuple | list):
        return True
    dtype = getattr(model, "input_dtype", None) or model.compute_dtype
    inputs = tf.TensorSpec([tasks, examples, *shape[1:]], dtype)
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

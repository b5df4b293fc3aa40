"""Which layers of a model do something else in training: batch statistics and random draws, as traced."""

from __future__ import annotations

import keras
import tensorflow as tf

from metalearn.nn import functional
from metalearn.nn.names import layer_of
from metalearn.nn.seeds import generator_keys
from metalearn.nn.tracing import Trace, trace
from metalearn.types import Parameters, Structure


def batch_statistics(model: keras.Model) -> list[str]:
    """Name the layers that update non-trainable numbers of theirs in a training call.

    Such are batch normalisation by Keras or by :mod:`metalearn.layers` unless ``trainable=False``, spectral
    normalisation, and layers of other origin with moving statistics. The call is traced: no list of classes
    is consulted. Integers (counters, seeds) are no statistics.

    Args:
        model: a built model.

    Returns:
        Paths within the model, as in the keys of its variables, in their order.

    Raises:
        ValueError: if the model has non-trainable numbers and the shapes of its inputs are not known.
    """
    return list(dict.fromkeys(layer_of(key) for key in statistic_keys(model)))


def statistic_keys(model: keras.Model, silent: bool = False) -> list[str]:
    """Return the keys of the numbers that :func:`batch_statistics` finds, in the order of the state.

    Args:
        model: a built model.
        silent: whether seeded layers are switched off in the traced call.
    """
    floating = [key for key, value in functional.state(model).items() if value.dtype.is_floating]
    if not floating:
        return []

    def after(parameters: Parameters, state: Parameters, inputs: Structure) -> Parameters:
        if silent:
            return functional.call(model, parameters, inputs, state=state, training=True)[2]
        return functional.apply_with_state(model, parameters, inputs, state=state, training=True)[1]

    traced = trace(model, after)
    return [key for key in floating if traced.returned[key] is not traced.state[key]]


def seeded_layers(model: keras.Model) -> list[str]:
    """Name the layers whose random draws change what a training call gives.

    Those are layers with a ``keras.random.SeedGenerator`` of which the outputs, or numbers of the state, of
    a traced training call depend: not dropout at rate 0.

    Args:
        model: a built model.

    Returns:
        Paths within the model, as in the keys of its variables, in their order.

    Raises:
        ValueError: if the model has seed generators and the shapes of its inputs are not known.
    """
    generators = generator_keys(model)
    if not generators:
        return []

    def in_training(parameters: Parameters, state: Parameters, inputs: Structure) -> Structure:
        return functional.apply_with_state(model, parameters, inputs, state=state, training=True)

    sources = _sources(trace(model, in_training))
    return list(dict.fromkeys(layer_of(key) for key in generators if key in sources))


def require_silence(model: keras.Model) -> None:
    """Raise ValueError if a layer draws random numbers although it is switched off, naming it.

    Also if a layer that owns both a seed generator and others with batch statistics takes these out of
    training when it is switched off itself.
    """
    generators = generator_keys(model)
    if not generators:
        return

    def silent(parameters: Parameters, state: Parameters, inputs: Structure) -> Structure:
        outputs, _, after = functional.call(model, parameters, inputs, state=state, training=True)
        return outputs, after

    sources = _sources(trace(model, silent))
    drawing = [layer_of(key) for key in generators if key in sources]
    if drawing:
        raise ValueError(
            f"{', '.join(dict.fromkeys(drawing))} of model {model.name!r} draw random numbers also with "
            "training=False, so that queries cannot be judged without noise: let their call draw only if "
            "its argument training is true"
        )
    lost = [key for key in statistic_keys(model) if key not in statistic_keys(model, silent=True)]
    if lost:
        raise ValueError(
            f"{', '.join(dict.fromkeys(map(layer_of, lost)))} of model {model.name!r} leave training mode "
            "with the layer around them, which owns a seed generator: keep random draws in a layer of "
            "their own, such as keras.layers.Dropout"
        )


def _sources(traced: Trace) -> set[str]:
    """Return the keys of all that the outputs and the floating-point state of a traced call depend on."""
    outputs, after = traced.returned
    changed = [after[key] for key in after if after[key].dtype.is_floating]
    return traced.sources([*tf.nest.flatten(outputs), *changed])

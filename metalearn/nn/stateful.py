"""Detection of layers with batch statistics or random numbers in training, by tracing calls."""

from __future__ import annotations

import keras
import tensorflow as tf

from metalearn.nn import functional
from metalearn.nn.names import layer_of
from metalearn.nn.seeds import generator_keys
from metalearn.nn.tracing import Trace, input_spec, trace
from metalearn.types import Parameters, Structure

HIDDEN_GENERATORS = (
    *("RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal", "RandomShuffle"),
    *("RandomGamma", "RandomPoissonV2", "Multinomial", "ParameterizedTruncatedNormal"),
)
"""The operations of ``tf.random`` that draw from a generator of TensorFlow."""


def batch_statistics(model: keras.Model) -> list[str]:
    """Return the layers that update their floating-point non-trainable variables in a training call.

    Examples are batch normalisation of Keras or :mod:`metalearn.layers` unless ``trainable=False``, spectral
    normalisation, and user-defined layers with moving statistics. They are found by tracing the call, not by
    a list of classes. Integer variables (counters, seeds) are not statistics.

    Args:
        model: a built model.

    Returns:
        Paths within the model, as in the keys of its variables, in their order.

    Raises:
        ValueError: if the model has non-trainable variables and the shapes of its inputs are unknown.
    """
    return list(dict.fromkeys(layer_of(key) for key in statistic_keys(model)))


def statistic_keys(model: keras.Model, silent: bool = False) -> list[str]:
    """Return the keys of the variables that :func:`batch_statistics` finds, in the order of the state.

    Args:
        model: a built model.
        silent: whether random layers are disabled in the traced call.
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
    """Return the layers whose random numbers affect a training call.

    These are layers with a ``keras.random.SeedGenerator`` on which the outputs or the floating-point state of
    a traced training call depend; for example, dropout with rate 0 is not included.

    Args:
        model: a built model.

    Returns:
        Paths within the model, as in the keys of its variables, in their order.

    Raises:
        ValueError: if the model has seed generators and the shapes of its inputs are unknown.
    """
    generators = generator_keys(model)
    if not generators:
        return []

    def in_training(parameters: Parameters, state: Parameters, inputs: Structure) -> Structure:
        return functional.apply_with_state(model, parameters, inputs, state=state, training=True)

    sources = _sources(trace(model, in_training))
    return list(dict.fromkeys(layer_of(key) for key in generators if key in sources))


def require_known_noise(model: keras.Model) -> None:
    """Raise ValueError if a training call draws random numbers that no seed of the model determines.

    If such a layer were the only random one, it would not draw at all, because it would not be found.
    """
    if all(map(_is_of_package, model._flatten_layers())) or input_spec(model) is None:
        return

    def in_training(parameters: Parameters, state: Parameters, inputs: Structure) -> Structure:
        return functional.apply(model, parameters, inputs, state=state, training=True)

    try:
        traced = trace(model, in_training)
    except functional.ForeignVariableError:
        raise
    except Exception:  # noqa: BLE001 - the model may fail for other inputs than those of the tasks
        return
    operations = traced.inputs[0].graph.get_operations() if traced.inputs else []
    drawing = [operation.name for operation in operations if operation.type in HIDDEN_GENERATORS]
    if drawing:
        raise ValueError(
            f"model {model.name!r} draws random numbers with tf.random ({', '.join(drawing)}), which "
            "differ from call to call, so that no result could be reproduced: draw with keras.random and a "
            "keras.random.SeedGenerator that the layer owns"
        )


def _is_of_package(layer: keras.Layer) -> bool:
    """Return whether a layer is one of Keras or of this package, whose noise has seed generators."""
    own = type(layer).__module__.startswith(("keras.", "metalearn."))
    return own and not isinstance(layer, keras.layers.Lambda)


def require_silence(model: keras.Model) -> None:
    """Raise ValueError if a layer draws random numbers although it is disabled, naming it.

    It is also an error if a layer with a seed generator disables the training mode of nested layers with
    batch statistics when it is disabled itself.
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
            "training=False, so queries cannot be evaluated without noise: draw only if the argument "
            "training of their call is true"
        )
    lost = [key for key in statistic_keys(model) if key not in statistic_keys(model, silent=True)]
    if lost:
        raise ValueError(
            f"{', '.join(dict.fromkeys(map(layer_of, lost)))} of model {model.name!r} leave training mode "
            "with the layer around them, which owns a seed generator: draw random numbers in a separate "
            "layer, such as keras.layers.Dropout"
        )


def _sources(traced: Trace) -> set[str]:
    """Return the keys on which the outputs and the floating-point state of a traced call depend."""
    outputs, after = traced.returned
    changed = [after[key] for key in after if after[key].dtype.is_floating]
    return traced.sources([*tf.nest.flatten(outputs), *changed])

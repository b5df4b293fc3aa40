"""The momenta of a model's moving statistics, checked by calls with random numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from metalearn.nn import functional
from metalearn.nn.names import layer_of, named_variables
from metalearn.nn.tracing import input_spec
from metalearn.types import Parameters, Structure

UNKNOWN = 32
"""The length of input axes with unknown length."""

TOLERANCE = 1e-3


def momenta(model: keras.Model, statistics: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Return the momentum a of each moving statistic m, which a training call updates to ``a m + (1 - a) s``.

    Args:
        model: a built model.
        statistics: the keys of its moving statistics.

    Raises:
        ValueError: if a layer has no attribute ``momentum`` below 1, or its training call makes another
            update (batch renormalisation), naming the layer and the other modes.
    """
    owners = {named.key: named.owner for named in named_variables(model)}
    found = {key: getattr(owners[key], "momentum", None) for key in statistics}
    named = [(key, float(value)) for key, value in found.items() if isinstance(value, int | float)]
    without = set(statistics) - {key for key, value in named if value < 1}
    if without:
        raise _refusal([key for key in statistics if key in without], owners, "have no momentum below 1")
    low, high = (_after(model, statistics, value) for value in (0.0, 1.0))
    other = [key for key, value in named if not np.allclose(high[key] - low[key], value, atol=TOLERANCE)]
    if other:
        raise _refusal(other, owners, "do not update m to momentum m + (1 - momentum) s in a training call")
    return tuple(named)


def _refusal(keys: Iterable[str], owners: dict[str, keras.Layer], reason: str) -> ValueError:
    layers = {f"{layer_of(key)} ({type(owners[key]).__name__})": None for key in keys}
    return ValueError(
        f"the mode 'support' computes statistics from the moving ones, but {', '.join(layers)} "
        f"{reason}: choose 'batch', 'moving' or 'per_step'"
    )


def _after(model: keras.Model, statistics: Sequence[str], value: float) -> Parameters:
    """Return the statistics after a training call on random numbers that starts from ``value`` in all."""
    state = functional.state(model)
    begin = {key: tf.fill(state[key].shape, tf.cast(value, state[key].dtype)) for key in statistics}
    called = functional.call(
        model, functional.parameters(model), _random(model), state={**state, **begin}, training=True
    )
    return {key: called[2][key] for key in statistics}


def _random(model: keras.Model) -> Structure:
    def draw(spec: tf.TensorSpec) -> tf.Tensor:
        shape = [UNKNOWN if size is None else size for size in spec.shape]
        if not spec.dtype.is_floating:
            return tf.zeros(shape, spec.dtype)
        return tf.cast(tf.random.stateless_normal(shape, (0, 0)), spec.dtype)

    return tf.nest.map_structure(draw, input_spec(model))

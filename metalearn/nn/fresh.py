"""Initial parameters of a model for many tasks, drawn in the graph from a seed."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from metalearn.nn.names import NamedVariable, named_variables
from metalearn.random import fold_in, uniform
from metalearn.types import Parameters, Seed

Range = tuple[float, float]


def fresh(model: keras.Model, seed: Seed, tasks: int) -> Parameters:
    """Draw initial parameters for every task: each variable ``[T, ...]``, a pure function of the seed.

    The distributions are those of the variables' initializers. The draws differ from those of
    :func:`metalearn.functional.initialize`, which are made in Python.

    Args:
        model: a built model that :func:`require_fresh` accepts.
        seed: two integers.
        tasks: T.
    """
    drawn = {}
    for index, named in enumerate(named_variables(model)):
        if not named.variable.trainable:
            continue
        low, high = _range(named)
        shape, dtype = [tasks, *named.variable.shape], tf.as_dtype(named.variable.dtype)
        constant = low == high
        own = fold_in(seed, index)
        drawn[named.key] = (
            tf.fill(shape, tf.cast(low, dtype)) if constant else uniform(shape, own, dtype, low, high)
        )
    return drawn


def require_fresh(model: keras.Model) -> None:
    """Raise ValueError, with the remedy, unless all initializers are constant or uniform."""
    for named in named_variables(model):
        if named.variable.trainable:
            _range(named)


def _range(named: NamedVariable) -> Range:
    """Return the limits of an initializer's uniform distribution; equal limits for a constant."""
    name, shape = named.variable.name, named.variable.shape
    initializer: Any = getattr(named.owner, f"{name}_initializer", None)
    if isinstance(initializer, keras.initializers.Zeros):
        return 0.0, 0.0
    if isinstance(initializer, keras.initializers.Ones):
        return 1.0, 1.0
    if isinstance(initializer, keras.initializers.RandomUniform):
        return initializer.minval, initializer.maxval
    scales = isinstance(initializer, keras.initializers.VarianceScaling) and len(shape) > 1
    if scales and initializer.distribution == "uniform":
        receptive = math.prod(shape[:-2])
        fans = {"fan_in": shape[-2] * receptive, "fan_out": shape[-1] * receptive}
        fans["fan_avg"] = (fans["fan_in"] + fans["fan_out"]) / 2
        limit = math.sqrt(3 * initializer.scale / fans[initializer.mode])
        return -limit, limit
    raise ValueError(
        f"{named.key!r} is initialised by {type(initializer).__name__}, which cannot be drawn anew for every "
        'task: use a uniform initializer, such as kernel_initializer="glorot_uniform", or zeros'
    )

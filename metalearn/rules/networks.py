"""Small networks within rules, which are applied to every element of every variable."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from metalearn.random import uniform
from metalearn.types import Parameters

Layer = dict[str, tf.Tensor]
"""``kernel [outputs, inputs]`` and ``bias [outputs, 1]``: examples are columns."""


def float_type(parameters: Parameters) -> tf.DType:
    """Return the type in which a network for these parameters is computed."""
    return next(iter(parameters.values())).dtype


def glorot(outputs: int, inputs: int, dtype: tf.DType, stream: int) -> Layer:
    """Return a layer with Glorot-uniform weights, determined by the stream, and a bias of 0."""
    limit = math.sqrt(6 / (inputs + outputs))
    kernel = tf.cast(uniform([outputs, inputs], (0, stream), tf.float32, -limit, limit), dtype)
    return {"kernel": kernel, "bias": tf.zeros([outputs, 1], dtype)}


def silent(outputs: int, inputs: int, dtype: tf.DType) -> Layer:
    """Return a layer whose outputs are 0."""
    return {"kernel": tf.zeros([outputs, inputs], dtype), "bias": tf.zeros([outputs, 1], dtype)}


def affine(layer: Layer, columns: tf.Tensor) -> tf.Tensor:
    """Return ``kernel columns + bias``, ``[outputs, N]``."""
    return tf.matmul(layer["kernel"], columns) + layer["bias"]


def as_columns(features: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return features of one variable, all of its shape, as ``[features, elements]``."""
    return tf.stack([tf.reshape(feature, [-1]) for feature in features])

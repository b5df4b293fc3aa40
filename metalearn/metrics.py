"""Metrics ``(targets, outputs) -> scalar``, which are reported and not differentiated."""

from __future__ import annotations

import types
from collections.abc import Sequence

import keras
import tensorflow as tf

from metalearn.losses import OWN as LOSSES
from metalearn.losses import MeanOf, describe, known, require_classification, require_function
from metalearn.types import Loss

__all__ = ["accuracy", "get", "named"]


def accuracy(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Return the fraction of examples whose largest output is the target's class.

    Args:
        targets: integer classes ``[N]`` or ``[N, 1]``; or one-hot or soft targets ``[N, C]``, floating
            point, whose largest entry is the class.
        outputs: logits or probabilities ``[N, C]``, at least two classes.

    Returns:
        A number from 0 to 1, of the outputs' type. Of equal outputs the first is the prediction. An example
        with a NaN among its outputs counts as wrong; otherwise a diverged model would always predict class 0.

    Raises:
        ValueError: if shapes, types or classes are invalid, naming the remedy.

    >>> float(accuracy([0, 1], [[2.0, 1.0], [3.0, 1.0]]))
    0.5
    """
    targets, outputs = require_classification("accuracy", targets, outputs)
    if targets.dtype.is_floating:
        targets = tf.argmax(targets, -1, output_type=tf.int32)
    right = tf.argmax(outputs, -1, output_type=tf.int32) == targets
    is_number = ~tf.reduce_any(tf.math.is_nan(outputs), -1)
    return tf.reduce_mean(tf.cast(right & is_number, outputs.dtype))


def get(metric: str | Loss) -> Loss:
    """Return a metric ``(targets, outputs) -> scalar``.

    Args:
        metric: ``"accuracy"``, ``"mse"``, ``"cross_entropy"``, or the name of a function in
            ``keras.metrics``, whose mean over the examples is returned; or a function that returns a
            scalar, which is returned unchanged.

    Raises:
        ValueError: if the name is unknown, the metric returns one number for each example, or it is a Keras
            metric that keeps a state, naming the remedy.
    """
    if isinstance(metric, str):
        if metric in OWN:
            return OWN[metric]
        function = getattr(keras.metrics, metric, None)
        # keras.metrics also contains classes, and functions that are not metrics, such as get and serialize.
        if isinstance(function, types.FunctionType) and function.__module__ != keras.metrics.get.__module__:
            return MeanOf(function)
        metric = known("metric", metric, keras.metrics.get, OWN)
    if isinstance(metric, keras.metrics.Metric):
        raise ValueError(
            f"the metric {type(metric).__name__} of Keras accumulates in its own variables, which a program "
            "over many tasks cannot share: give a function (targets, outputs) -> scalar, such as 'accuracy'"
        )
    return require_function("metric", metric)


OWN: dict[str, Loss] = {"accuracy": accuracy, **LOSSES}


def named(metrics: Sequence[str | Loss]) -> dict[str, Loss]:
    """Return metrics by name: the given name, or that of the function.

    Raises:
        ValueError: as :func:`get`; if two metrics have the same name; or if it is not a list or tuple.
    """
    if isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise ValueError(
            f"metrics must be a list of names and functions (targets, outputs) -> scalar, which are reported "
            f"by their names, got {metrics!r}: write metrics=['accuracy'] or metrics=[function]"
        )
    found: dict[str, Loss] = {}
    for metric in metrics:
        name = metric if isinstance(metric, str) else describe(metric)
        if name in found:
            raise ValueError(f"two metrics are called {name!r}: give one of the functions another __name__")
        found[name] = get(metric)
    return found

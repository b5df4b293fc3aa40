"""Metrics ``(targets, outputs) -> scalar``, to report: nothing is differentiated."""

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
            point, of which the class is the largest.
        outputs: logits or probabilities ``[N, C]``, at least two classes.

    Returns:
        From 0 to 1, of the outputs' type. Of equal outputs the first counts. An example with a NaN among its
        outputs is wrong, whatever its class: a model that diverged has not learned the first one.

    Raises:
        ValueError: if shapes, types or classes cannot be, naming the remedy.
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
            ``keras.metrics``, whose mean over the examples is taken; or a function that returns a
            scalar, which is returned as it is.

    Raises:
        ValueError: if the name is not known, what is given returns one number an example, or it is a Keras
            metric with a state of its own, naming the remedy.
    """
    if isinstance(metric, str):
        if metric in OWN:
            return OWN[metric]
        function = getattr(keras.metrics, metric, None)
        # Keras finds classes by these names, and has its own get and serialize beside the metrics.
        if isinstance(function, types.FunctionType) and function.__module__ != keras.metrics.get.__module__:
            return MeanOf(function)
        metric = known("metric", metric, keras.metrics.get, OWN)
    if isinstance(metric, keras.metrics.Metric):
        raise ValueError(
            f"the metric {type(metric).__name__} of Keras counts in variables of its own, which programs "
            "over many tasks cannot share: give a function (targets, outputs) -> scalar, such as 'accuracy'"
        )
    return require_function("metric", metric)


OWN: dict[str, Loss] = {"accuracy": accuracy, **LOSSES}


def named(metrics: Sequence[str | Loss]) -> dict[str, Loss]:
    """Return metrics by the names that they are reported by: the given one, or that of the function.

    Raises:
        ValueError: as :func:`get`; or if two have one name.
    """
    found: dict[str, Loss] = {}
    for metric in metrics:
        name = metric if isinstance(metric, str) else describe(metric)
        if name in found:
            raise ValueError(f"two metrics are called {name!r}: give one of the functions another __name__")
        found[name] = get(metric)
    return found

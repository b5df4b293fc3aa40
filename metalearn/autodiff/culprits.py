"""Operations that are known to have wrong or missing derivatives on TensorFlow, with replacements.

``python -m experiments.audit_keras`` measures every entry, in TensorFlow 2.21 and Keras 3.15.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

__all__ = ["KNOWN", "Culprit", "found_in"]


class Culprit(NamedTuple):
    """An operation with a wrong or missing derivative, and a remedy.

    Attributes:
        fault: which derivative is wrong or missing, and under which condition.
        remedy: what to write instead; messages put it after a colon.
    """

    fault: str
    remedy: str


_MOMENTS = "write the variance as tf.reduce_mean(tf.square(x - mean)), or use tf.math.reduce_variance"
_RESIZE = "use metalearn.layers.Resizing or metalearn.layers.UpSampling2D"
_PRODUCT = "multiply the factors one by one, tf.unstack and *"
_TARGETS = Culprit(
    "the mixed second derivative with respect to targets and logits is exactly 0 (and the first one with "
    "respect to logits is wrong if targets do not sum to 1)",
    "use metalearn.losses.cross_entropy",
)
_SOFTSIGN = Culprit("has no second derivative", "use metalearn.layers.softsign")
_POWER = Culprit("the third derivative of x ** 2 at 0 is NaN", "use tf.square(x) or x * x")
_CTC = Culprit("the second derivative is NaN", "use the estimator first_order")
_RESIZED = Culprit("the second derivative is 0 for bilinear resizing; the other methods have none", _RESIZE)
_LU = Culprit("has no derivative", "use tf.linalg.solve, tf.linalg.cholesky or tf.linalg.qr")
_GAMMA = Culprit("has no second derivative with respect to a", "keep a constant")
_OWN = "write the function out in other operations, or give it a derivative with tf.custom_gradient"


def _layer(name: str) -> Culprit:
    return Culprit("the second derivative is wrong or missing", f"use metalearn.layers.{name}")


KNOWN: dict[str, Culprit] = {
    "keras.layers.BatchNormalization": _layer("BatchNormalization"),
    "keras.layers.GlobalMaxPooling2D": Culprit(
        "under XLA, the second derivative can be tens of percent off",
        "use metalearn.layers.MaxPooling2D of the image's size and Flatten",
    ),
    "keras.layers.GroupNormalization": _layer("GroupNormalization"),
    "keras.layers.LayerNormalization": _layer("LayerNormalization"),
    "keras.layers.MaxPooling2D": Culprit(
        "under XLA, the second derivative confuses close entries in float32, and is missing in float64",
        "use metalearn.layers.MaxPooling2D, or compile without XLA (jit_compile=False)",
    ),
    "keras.layers.Resizing": _layer("Resizing"),
    "keras.layers.SpectralNormalization": Culprit(
        "the second derivative is wrong by design: singular vectors are treated as constants",
        "leave it out, or use the estimator first_order",
    ),
    "keras.layers.UpSampling2D": Culprit(
        "the second derivative is wrong or missing except with interpolation='nearest'",
        "use metalearn.layers.UpSampling2D",
    ),
    "keras.losses.categorical_crossentropy": Culprit(
        f"with from_logits=True, {_TARGETS.fault}", _TARGETS.remedy
    ),
    "keras.losses.ctc": _CTC,
    "keras.activations.softsign": _SOFTSIGN,
    "keras.ops.cumprod": Culprit("the derivative is wrong where a factor is 0", _PRODUCT),
    "keras.ops.ctc_loss": _CTC,
    "keras.ops.image.resize": _RESIZED,
    "keras.ops.layer_normalization": Culprit(
        "the second derivative is wrong", "use metalearn.layers.LayerNormalization"
    ),
    "keras.ops.lu_factor": _LU,
    "keras.ops.moments": Culprit("the second derivative is wrong", _MOMENTS),
    "keras.ops.power": _POWER,
    "keras.ops.prod": Culprit("the second derivative is wrong where a factor is 0", _PRODUCT),
    "keras.ops.sinc": Culprit("the derivative at 0 is NaN", "keep x away from 0"),
    "keras.ops.softsign": _SOFTSIGN,
    "tf.image.crop_and_resize": Culprit("has no second derivative", _RESIZE),
    "tf.image.resize": _RESIZED,
    "tf.linalg.logm": Culprit("has no derivative", _OWN),
    "tf.linalg.lstsq": Culprit("has no derivative with fast=False", "use fast=True"),
    "tf.linalg.lu": _LU,
    "tf.math.betainc": Culprit("has no derivative with respect to a and b", "keep a and b constant"),
    "tf.math.cumprod": Culprit("the derivative is wrong where a factor is 0", _PRODUCT),
    "tf.math.cumulative_logsumexp": Culprit(
        "the third derivative is NaN", "write m + tf.math.log(tf.cumsum(tf.exp(x - m))) with a constant m"
    ),
    "tf.math.igamma": _GAMMA,
    "tf.math.igammac": _GAMMA,
    "tf.math.pow": _POWER,
    "tf.math.reduce_max": Culprit(
        "of windows under XLA, the second derivative can be tens of percent off",
        "use metalearn.layers.MaxPooling2D, or tf.maximum of the parts",
    ),
    "tf.math.reduce_prod": Culprit("the second derivative is wrong where a factor is 0", _PRODUCT),
    "tf.math.unsorted_segment_prod": Culprit("the second derivative is NaN where a factor is 0", _PRODUCT),
    "tf.nn.ctc_loss": _CTC,
    "tf.nn.dilation2d": Culprit("has no second derivative", _OWN),
    "tf.nn.fractional_avg_pool": Culprit("has no second derivative", "use keras.layers.AveragePooling2D"),
    "tf.nn.fractional_max_pool": Culprit("has no second derivative", "use metalearn.layers.MaxPooling2D"),
    "tf.nn.local_response_normalization": Culprit(
        "has no second derivative", "use metalearn.layers.LayerNormalization"
    ),
    "tf.nn.max_pool_with_argmax": Culprit("has no second derivative", "use metalearn.layers.MaxPooling2D"),
    "tf.nn.moments": Culprit("the second derivative is wrong", _MOMENTS),
    "tf.nn.softmax_cross_entropy_with_logits": _TARGETS,
    "tf.nn.softsign": _SOFTSIGN,
    "tf.numpy_function": Culprit("has no derivative", "write the function in TensorFlow"),
    "tf.py_function": Culprit("has no second derivative", "write the function in TensorFlow"),
    "x ** 2": _POWER,
    "tf.recompute_grad": Culprit(
        "has no second derivative",
        "call the function itself; the estimator checkpointed saves memory",
    ),
}
"""Operations, layers and losses by their public names, for messages and for the audit."""

OPERATIONS = {
    "StopGradient": "tf.nn.moments",
    "FusedBatchNormV3": "keras.layers.BatchNormalization",
    "ResizeBilinear": "tf.image.resize",
    "CropAndResize": "tf.image.crop_and_resize",
    "Prod": "tf.math.reduce_prod",
    "Cumprod": "tf.math.cumprod",
    "UnsortedSegmentProd": "tf.math.unsorted_segment_prod",
    "SoftmaxCrossEntropyWithLogits": "tf.nn.softmax_cross_entropy_with_logits",
    "EagerPyFunc": "tf.py_function",
}
"""Entries of ``KNOWN`` by the type of the operation by which a graph shows them."""


def found_in(graph: tf.Graph) -> list[str]:
    """Return the known faults of a graph's operations, with remedies and the first place of each."""
    found: dict[str, str] = {}
    for operation in graph.get_operations():
        name = OPERATIONS.get(operation.type)
        if name and name not in found:
            known = KNOWN[name]
            found[name] = f"{name} at {operation.name} ({known.fault}: {known.remedy})"
    return list(found.values())

"""What is known to have wrong or missing derivatives on TensorFlow, and what to use instead.

``python -m experiments.audit_keras`` measures every entry, in TensorFlow 2.21 and Keras 3.15.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["KNOWN", "Culprit"]


class Culprit(NamedTuple):
    """A fault of derivatives, and the way around it.

    Attributes:
        fault: which derivative is wrong or missing, and under which condition.
        remedy: what to write instead; follows a colon.
    """

    fault: str
    remedy: str


_MOMENTS = "write the variance as tf.reduce_mean(tf.square(x - mean)), or use tf.math.reduce_variance"
_RESIZE = "use metalearn.layers.Resizing or metalearn.layers.UpSampling2D"
_PRODUCT = "multiply the factors one by one, tf.unstack and *"
_TARGETS = Culprit(
    "the mixed second derivative with respect to targets and logits is exactly 0",
    "use metalearn.losses.cross_entropy",
)
_SOFTSIGN = Culprit("has no second derivative", "use metalearn.layers.softsign")
_POWER = Culprit("the third derivative of x ** 2 at 0 is NaN", "use tf.square(x) or x * x")
_OWN = "write the function out in other operations, or give it a derivative with tf.custom_gradient"


def _layer(name: str) -> Culprit:
    return Culprit("the second derivative is wrong or missing", f"use metalearn.layers.{name}")


KNOWN: dict[str, Culprit] = {
    "keras.layers.BatchNormalization": _layer("BatchNormalization"),
    "keras.layers.GroupNormalization": _layer("GroupNormalization"),
    "keras.layers.LayerNormalization": _layer("LayerNormalization"),
    "keras.layers.MaxPooling2D": Culprit(
        "under XLA, the second derivative is up to some percent off in float32 and missing in float64",
        "use metalearn.layers.MaxPooling2D, or compile without XLA (jit_compile=False)",
    ),
    "keras.layers.Resizing": _layer("Resizing"),
    "keras.layers.SpectralNormalization": Culprit(
        "the second derivative is wrong by design: it takes singular vectors for constants",
        "leave it out, or use the estimator first_order",
    ),
    "keras.layers.UpSampling2D": Culprit(
        "the second derivative is wrong or missing except with interpolation='nearest'",
        "use metalearn.layers.UpSampling2D",
    ),
    "keras.losses.categorical_crossentropy": Culprit(
        f"with from_logits=True, {_TARGETS.fault}", _TARGETS.remedy
    ),
    "keras.losses.ctc": Culprit("the second derivative is NaN", "use the estimator first_order"),
    "keras.activations.softsign": _SOFTSIGN,
    "keras.ops.cumprod": Culprit("the derivative is wrong where a factor is 0", _PRODUCT),
    "keras.ops.layer_normalization": Culprit(
        "the second derivative is wrong", "use metalearn.layers.LayerNormalization"
    ),
    "keras.ops.moments": Culprit("the second derivative is wrong", _MOMENTS),
    "keras.ops.power": _POWER,
    "keras.ops.prod": Culprit("the second derivative is wrong where a factor is 0", _PRODUCT),
    "keras.ops.softsign": _SOFTSIGN,
    "tf.image.resize": Culprit(
        "the second derivative is 0 for bilinear resizing; the other methods have none", _RESIZE
    ),
    "tf.linalg.logm": Culprit("has no derivative", _OWN),
    "tf.linalg.lu": Culprit("has no derivative", "use tf.linalg.solve, tf.linalg.cholesky or tf.linalg.qr"),
    "tf.math.cumprod": Culprit("the derivative is wrong where a factor is 0", _PRODUCT),
    "tf.math.cumulative_logsumexp": Culprit(
        "the third derivative is NaN", "use tf.math.log(tf.cumsum(tf.exp(x - tf.stop_gradient(max)))) + max"
    ),
    "tf.math.igamma": Culprit("has no second derivative with respect to a", _OWN),
    "tf.math.pow": _POWER,
    "tf.math.reduce_max": Culprit(
        "of windows under XLA, the second derivative can be tens of percent off",
        "use metalearn.layers.MaxPooling2D, or tf.maximum of the parts",
    ),
    "tf.math.reduce_prod": Culprit("the second derivative is wrong where a factor is 0", _PRODUCT),
    "tf.math.unsorted_segment_prod": Culprit("the second derivative is NaN where a factor is 0", _PRODUCT),
    "tf.nn.ctc_loss": Culprit("the second derivative is NaN", "use the estimator first_order"),
    "tf.nn.dilation2d": Culprit("has no second derivative", _OWN),
    "tf.nn.fractional_avg_pool": Culprit("has no second derivative", "use keras.layers.AveragePooling2D"),
    "tf.nn.fractional_max_pool": Culprit("has no second derivative", "use metalearn.layers.MaxPooling2D"),
    "tf.nn.max_pool_with_argmax": Culprit("has no second derivative", "use metalearn.layers.MaxPooling2D"),
    "tf.nn.moments": Culprit("the second derivative is wrong", _MOMENTS),
    "tf.nn.softmax_cross_entropy_with_logits": _TARGETS,
    "tf.nn.softsign": _SOFTSIGN,
    "tf.numpy_function": Culprit("has no derivative", "write the function in TensorFlow"),
    "tf.py_function": Culprit("has no second derivative", "write the function in TensorFlow"),
    "tf.recompute_grad": Culprit(
        "has no second derivative",
        "call the function itself; the estimator checkpointed saves memory",
    ),
}
"""What to say of operations, layers and losses by their public names, for messages and for the audit."""

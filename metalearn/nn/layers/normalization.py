"""Normalisation with exact second derivatives, as a replacement of Keras' own.

With TensorFlow, ``keras.layers.BatchNormalization`` (with batch statistics), ``LayerNormalization`` and
``GroupNormalization`` silently return wrong second derivatives: ``tf.nn.moments`` treats the mean within the
variance as a constant. The gradient is still right, because the deviations from the mean sum to zero, but its
derivative is wrong. The layers with the same names in this package use the definition of the variance;
:func:`metalearn.layers.exact` inserts them into a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

Shape = Sequence[int | None]


class Normalization(keras.layers.Layer):
    """The common base of the three layers: ``gamma (x - mean) / sqrt(variance + epsilon) + beta``."""

    def __init__(
        self,
        *,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.supports_masking = True
        self.epsilon, self.center, self.scale = epsilon, center, scale
        self.beta_initializer = keras.initializers.get(beta_initializer)
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.beta_regularizer = keras.regularizers.get(beta_regularizer)
        self.gamma_regularizer = keras.regularizers.get(gamma_regularizer)
        self.beta_constraint = keras.constraints.get(beta_constraint)
        self.gamma_constraint = keras.constraints.get(gamma_constraint)
        self.gamma = self.beta = None

    def add_gamma_and_beta(self, shape: Shape) -> None:
        """Create gamma and beta if they are requested."""
        for name, wanted in (("gamma", self.scale), ("beta", self.center)):
            if wanted:
                options = {
                    kind: getattr(self, f"{name}_{kind}")
                    for kind in ("initializer", "regularizer", "constraint")
                }
                setattr(self, name, self.add_weight(shape=shape, name=name, autocast=False, **options))

    def gamma_and_beta(self, x: tf.Tensor, shape: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return gamma (or one) and beta (or zero), reshaped and in the type of x."""
        lengths = [x.shape[axis] if size == -1 else 1 for axis, size in enumerate(shape)]
        gamma = tf.ones(lengths, x.dtype) if self.gamma is None else tf.cast(self.gamma, x.dtype)
        beta = tf.zeros(lengths, x.dtype) if self.beta is None else tf.cast(self.beta, x.dtype)
        return tf.reshape(gamma, shape), tf.reshape(beta, shape)

    def normalize(self, centred: tf.Tensor, variance: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
        """Return ``gamma centred / sqrt(variance + epsilon) + beta`` with weights reshaped to ``shape``."""
        outputs = tf.math.rsqrt(variance + self.epsilon)
        if self.gamma is not None:
            outputs *= tf.reshape(tf.cast(self.gamma, centred.dtype), shape)
        outputs *= centred
        if self.beta is not None:
            outputs += tf.reshape(tf.cast(self.beta, centred.dtype), shape)
        return outputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the inputs, which normalisation does not change."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        config = {"epsilon": self.epsilon, "center": self.center, "scale": self.scale}
        for module, kind in (
            (keras.initializers, "initializer"),
            (keras.regularizers, "regularizer"),
            (keras.constraints, "constraint"),
        ):
            for name in (f"beta_{kind}", f"gamma_{kind}"):
                config[name] = module.serialize(getattr(self, name))
        return {**super().get_config(), **config}


def wide(inputs: tf.Tensor) -> tf.Tensor:
    """Cast half precision, in which squares overflow, to float32."""
    return tf.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))


def within(axis: int | Sequence[int], shape: Shape) -> list[int]:
    """Return axes as non-negative numbers in order; raise ValueError if one is not in ``shape``."""
    axes = [axis] if isinstance(axis, int) else list(axis)
    if not all(-len(shape) <= index < len(shape) for index in axes):
        raise ValueError(f"axis={axis!r} is out of bounds for inputs of shape {tuple(shape)}")
    return sorted(index % len(shape) for index in axes)


def moments(
    x: tf.Tensor, axes: Sequence[int], mask: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return deviations from the mean, the mean and the variance, the last two with axes of length 1."""
    if mask is None:
        mean = tf.reduce_mean(x, axes, keepdims=True)
        centred = x - mean
        return centred, mean, tf.reduce_mean(tf.square(centred), axes, keepdims=True)
    if len(mask.shape) != len(x.shape) - 1:
        raise ValueError(f"mask must have one axis less than the inputs {x.shape}, got {mask.shape}")
    counted = tf.broadcast_to(tf.cast(mask, bool)[..., None], tf.shape(x))
    total = tf.reduce_sum(tf.cast(counted, x.dtype), axes, keepdims=True) + keras.config.epsilon()

    def mean_of(values: tf.Tensor) -> tf.Tensor:
        # Not a product with the mask, because masked entries may be infinite.
        return tf.reduce_sum(tf.where(counted, values, 0), axes, keepdims=True) / total

    mean = mean_of(x)
    centred = x - mean
    return centred, mean, mean_of(tf.square(centred))

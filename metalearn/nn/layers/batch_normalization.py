"""Batch normalisation with exact second derivatives."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from metalearn.nn.layers.normalization import Normalization, Shape, moments, wide, within
from metalearn.nn.layers.standardized import standardized


@keras.saving.register_keras_serializable(package="metalearn")
class BatchNormalization(Normalization):
    """Batch normalisation; ``keras.layers.BatchNormalization`` with exact second derivatives.

    ::

        mean = sum_n x_n / N,      variance = sum_n (x_n - mean)^2 / N              while training
        y_n = gamma (x_n - mean) / sqrt(variance + epsilon) + beta

    over all axes except ``axis``. Outside of training, and with ``trainable=False``, mean and variance are
    the moving ones. Arguments, weights and names are those of Keras; arguments after ``scale`` are
    keyword-only.

    Raises:
        ValueError: if ``renorm`` or ``synchronized`` is requested, which only Keras' layer supports.

    Reference: Ioffe and Szegedy (2015), "Batch Normalization", algorithm 1.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        renorm: bool = False,
        synchronized: bool = False,
        **options: Any,
    ) -> None:
        for name, value in (("renorm", renorm), ("synchronized", synchronized)):
            if value:
                raise ValueError(
                    f"{name}={value!r} is not supported with exact second derivatives: omit it, or "
                    "use keras.layers.BatchNormalization with a first-order estimator"
                )
        for unused in ("renorm_clipping", "renorm_momentum"):
            options.pop(unused, None)
        super().__init__(epsilon=float(epsilon), center=center, scale=scale, **options)
        self.axis, self.momentum = int(axis), float(momentum)
        self.moving_mean_initializer = keras.initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = keras.initializers.get(moving_variance_initializer)

    def build(self, input_shape: Shape) -> None:
        """Create the weights: gamma, beta, moving_mean, moving_variance."""
        (axis,) = within(self.axis, input_shape)
        shape = (input_shape[axis],)
        self.add_gamma_and_beta(shape)
        for name in ("moving_mean", "moving_variance"):
            initializer = getattr(self, f"{name}_initializer")
            weight = self.add_weight(
                shape=shape, name=name, initializer=initializer, trainable=False, autocast=False
            )
            setattr(self, name, weight)
        self.input_spec = keras.layers.InputSpec(ndim=len(input_shape), axes={axis: input_shape[axis]})

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Normalise ``inputs``; the moments exclude entries whose ``mask``, with one axis less, is false."""
        x = wide(inputs)
        axis = self.axis % len(x.shape)
        shape = [-1 if index == axis else 1 for index in range(len(x.shape))]
        moving = [tf.cast(weight, x.dtype) for weight in (self.moving_mean, self.moving_variance)]
        if training and self.trainable:
            others = [index for index in range(len(x.shape)) if index != axis]
            centred, mean, variance = moments(x, others, mask)
            weights = (self.moving_mean, self.moving_variance)
            for weight, before, now in zip(weights, moving, (mean, variance), strict=True):
                weight.assign(before * self.momentum + tf.reshape(now, [-1]) * (1.0 - self.momentum))
            if mask is None:
                gamma, beta = self.gamma_and_beta(x, shape)
                return tf.cast(standardized(x, gamma, beta, others, self.epsilon), self.compute_dtype)
        else:
            mean, variance = [tf.reshape(value, shape) for value in moving]
            centred = x - mean
        return tf.cast(self.normalize(centred, variance, shape), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        initializers = {
            name: keras.initializers.serialize(getattr(self, name))
            for name in ("moving_mean_initializer", "moving_variance_initializer")
        }
        return {**super().get_config(), "axis": self.axis, "momentum": self.momentum, **initializers}

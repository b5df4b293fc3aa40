"""Layer normalisation with exact second derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from metalearn.nn.layers.normalization import Normalization, Shape, moments, wide, within


@keras.saving.register_keras_serializable(package="metalearn")
class LayerNormalization(Normalization):
    """Layer normalisation; ``keras.layers.LayerNormalization`` with exact second derivatives.

    ::

        mean = sum_i x_i / I,      variance = sum_i (x_i - mean)^2 / I
        y_i = gamma_i (x_i - mean) / sqrt(variance + epsilon) + beta_i

    over the axes ``axis``. Arguments, weights and names are those of Keras; arguments after ``scale`` are
    keyword-only.

    Raises:
        ValueError: if ``rms_scaling`` is requested, which Keras has deprecated.

    Reference: Ba, Kiros and Hinton (2016), "Layer Normalization", equation 3.
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        rms_scaling: bool = False,
        **options: Any,
    ) -> None:
        if rms_scaling:
            raise ValueError(
                f"rms_scaling={rms_scaling!r} divides by the standard deviation, not by the root mean "
                "square: use keras.layers.RMSNormalization, which has exact second derivatives"
            )
        super().__init__(epsilon=epsilon, center=center, scale=scale, **options)
        self.autocast = False  # as in Keras: half precision is cast to float32 first
        self.axis = axis if isinstance(axis, int) else list(axis)

    def build(self, input_shape: Shape) -> None:
        """Create the weights: gamma, beta."""
        self.add_gamma_and_beta([input_shape[axis] for axis in within(self.axis, input_shape)])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalise ``inputs``."""
        x = wide(inputs)
        axes = within(self.axis, x.shape)
        centred, _, variance = moments(x, axes)
        shape = [size if index in axes else 1 for index, size in enumerate(x.shape)]
        return tf.cast(self.normalize(centred, variance, shape), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "axis": self.axis}

"""Group normalisation with exact second derivatives."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.nn.layers.normalization import Normalization, Shape, moments, wide, within


@keras.saving.register_keras_serializable(package="metalearn")
class GroupNormalization(Normalization):
    """Group normalisation; ``keras.layers.GroupNormalization`` with exact second derivatives.

    Mean and variance are over all axes except the first one, and along ``axis`` over each of ``groups``
    groups of channels; gamma and beta have one entry for each channel. With ``groups=-1`` each channel is a
    group. Otherwise it is :class:`LayerNormalization`. Arguments after ``scale`` are keyword-only.

    Raises:
        ValueError: if ``groups`` is neither positive nor -1; when built, if it does not divide the channels.

    Reference: Wu and He (2018), "Group Normalization", equation 7.
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Any,
    ) -> None:
        if groups != -1:
            require_count("groups (-1 for one per channel)", groups)
        super().__init__(epsilon=epsilon, center=center, scale=scale, **options)
        self.autocast = False
        self.groups, self.axis = groups, axis

    def build(self, input_shape: Shape) -> None:
        """Create the weights: gamma, beta.

        Raises:
            ValueError: if ``groups`` does not divide the channels.
        """
        (axis,) = within(self.axis, input_shape)
        channels = input_shape[axis]
        if channels is None or channels % self.groups:
            raise ValueError(
                f"groups={self.groups} does not divide the {channels} channels of axis {self.axis} of inputs "
                f"{tuple(input_shape)}: choose a divisor"
            )
        self.add_gamma_and_beta([channels])
        self.input_spec = keras.layers.InputSpec(ndim=len(input_shape), axes={axis: channels})

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalise ``inputs``."""
        x = wide(inputs)
        axis, sizes = self.axis % len(x.shape), list(keras.ops.shape(x))
        groups = sizes[axis] if self.groups == -1 else self.groups
        split = [groups, sizes[axis] // groups]
        grouped = tf.reshape(x, [-1, *sizes[1:axis], *split, *sizes[axis + 1 :]])
        others = [index for index in range(1, len(grouped.shape)) if index != axis]
        centred, _, variance = moments(grouped, others)
        shape = [1] * axis + split + [1] * (len(x.shape) - axis - 1)
        outputs = tf.reshape(self.normalize(centred, variance, shape), sizes)
        return tf.cast(outputs, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "groups": self.groups, "axis": self.axis}

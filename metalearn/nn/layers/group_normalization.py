"""Group normalisation with exact second derivatives."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.nn.layers.normalization import Normalization, Shape, moments, wide, within


@keras.saving.register_keras_serializable(package="metalearn")
class GroupNormalization(Normalization):
    """Normalise every example over groups of its channels; ``keras.layers.GroupNormalization`` likewise.

    As :class:`LayerNormalization`, with mean and variance over all axes but the first and, of ``axis``, over
    one of ``groups`` groups of channels at a time; gamma and beta have one entry a channel. ``groups=-1``
    makes each channel a group. Arguments after ``scale`` by keyword only.

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
            require_count("groups (-1 for one a channel)", groups)
        super().__init__(epsilon=epsilon, center=center, scale=scale, **options)
        self.autocast = False
        self.groups, self.axis = groups, axis

    def build(self, input_shape: Shape) -> None:
        """Make the weights: gamma, beta."""
        (axis,) = within(self.axis, input_shape)
        channels = input_shape[axis]
        if channels is None or channels % self.groups:
            raise ValueError(
                f"groups={self.groups} does not divide the {channels} channels of axis {self.axis} of inputs "
                f"{tuple(input_shape)}: give a number of groups that does"
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

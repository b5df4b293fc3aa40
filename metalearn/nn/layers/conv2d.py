"""Convolution of images as a matrix product with their patches."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.nn.layers import weights
from metalearn.nn.layers.convolution import convolve
from metalearn.nn.layers.normalization import Shape
from metalearn.nn.layers.patches import Geometry, order_of_axes, pair, require_padding


@keras.saving.register_keras_serializable(package="metalearn")
class Conv2D(keras.layers.Layer):
    """Convolution of images; ``keras.layers.Conv2D`` with faster meta-gradients.

    ::

        y[i, j, f] = activation(b[f] + sum_{m, n, c} K[m, n, c, f] x[s i + d m - p, s j + d n - p, c])

    with zeros outside of the image. Arguments, weights, names and values are those of Keras; adapters (LoRA)
    and quantisation are not supported. Height and width of the inputs have to be known. Derivatives of every
    order are products and gathers (:mod:`metalearn.nn.layers.convolution`).

    Args:
        filters: F, at least 1.
        kernel_size: the height and width of the filters; a number for both.
        strides: s, the distance between patches; a number for both.
        padding: ``"valid"``: only patches within the image; ``"same"``: ``ceil(size / s)`` patches.
        data_format: ``"channels_last"`` or ``"channels_first"``; None for Keras' setting.
        dilation_rate: d, the distance between the pixels of a patch; a number for both.
        groups: G, the number of independent groups of channels and filters.
        activation: the activation of the outputs, any Keras activation.
        use_bias: whether there is a bias b.
        **options: initializers, regularizers and constraints of ``kernel`` and ``bias``,
            ``activity_regularizer``, and the arguments of every layer.

    Raises:
        ValueError: if a size is not an integer of at least 1, the padding or the data format is unknown, or
            ``groups`` does not divide ``filters``.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, int] = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        weights.take(self, options)
        super().__init__(**options)
        require_count("filters", filters)
        require_count("groups", groups)
        require_padding(padding)
        if filters % groups:
            raise ValueError(
                f"filters={filters} cannot be divided into groups={groups}: use a multiple of it"
            )
        self.filters, self.groups, self.use_bias, self.padding = filters, groups, use_bias, padding
        self.kernel_size = pair("kernel_size", kernel_size)
        self.strides = pair("strides", strides)
        self.dilation_rate = pair("dilation_rate", dilation_rate)
        self.data_format = order_of_axes(data_format)
        self.activation = keras.activations.get(activation)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: Shape) -> None:
        """Create the weights: K ``[P, Q, C / G, F]``, b ``[F]``.

        Raises:
            ValueError: if height or width are unknown or too small, or ``groups`` does not divide the
                channels.
        """
        height, width, channels = (input_shape[axis] for axis in self._axes)
        if height is None or width is None:
            raise ValueError(
                f"{self.name} needs images of known height and width, got {tuple(input_shape)}: give both to "
                "keras.Input"
            )
        if channels is None or channels % self.groups:
            raise ValueError(
                f"{self.name} cannot divide the channels of {tuple(input_shape)} into groups={self.groups}"
            )
        self.compute_output_shape(input_shape)
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = weights.add(self, "kernel", shape)
        self.bias = weights.add(self, "bias", (self.filters,)) if self.use_bias else None
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={self._axes[2]: channels})

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Filter images ``[N, H, W, C]``, or ``[N, C, H, W]`` for ``"channels_first"``."""
        images = tf.convert_to_tensor(inputs)
        if self.data_format == "channels_first":
            images = tf.transpose(images, [0, 2, 3, 1])
        bias = None if self.bias is None else tf.convert_to_tensor(self.bias)
        geometry = self._geometry((images.shape[1], images.shape[2]))
        outputs = convolve(images, tf.convert_to_tensor(self.kernel), bias, geometry, self.groups)
        if self.data_format == "channels_first":
            outputs = tf.transpose(outputs, [0, 3, 1, 2])
        return self.activation(outputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the outputs, with None for unknown height or width.

        Raises:
            ValueError: if the image is smaller than a filter.
        """
        shape = list(input_shape)
        for number, axis in enumerate(self._axes[:2]):
            size = shape[axis]
            if size is not None:
                count = self._geometry((size, size)).counts[number]
                shape[axis] = count
                if count < 1:
                    raise ValueError(
                        f"{self.name}: images {tuple(input_shape)} are smaller than its filters, "
                        f"{self.kernel_size}: use padding='same', or fewer layers before it"
                    )
        shape[self._axes[2]] = self.filters
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        names = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups")
        own = {name: getattr(self, name) for name in (*names, "use_bias")}
        return {**super().get_config(), **weights.config(self), **own}

    def _geometry(self, size: tuple[int, int]) -> Geometry:
        return Geometry(size, self.kernel_size, self.strides, self.dilation_rate, self.padding)

    @property
    def _axes(self) -> tuple[int, int, int]:
        """The axes of height, width and channels."""
        return (2, 3, 1) if self.data_format == "channels_first" else (1, 2, 3)

"""Resizing of images with exact second derivatives.

The gradient of TensorFlow's bilinear resizing is registered as not differentiable, which silently makes
second derivatives through it zero; those of the other methods are missing. All methods are linear and
separable, so they can be written as two matrix products, which have all derivatives.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metalearn.nn.layers.normalization import Shape
from metalearn.nn.layers.patches import order_of_axes


class _Resampling(keras.layers.Layer):
    """``y[i, j] = sum_{m, n} A[i, m] B[j, n] x[m, n]`` for every image and channel."""

    def __init__(self, data_format: str | None, interpolation: str, antialias: bool, **options: Any) -> None:
        super().__init__(**options)
        self.data_format = order_of_axes(data_format)
        self.interpolation, self.antialias = interpolation.lower(), bool(antialias)

    def _size(self, height: int | None, width: int | None) -> tuple[int | None, int | None]:
        """Return the height and width of the outputs, given those of the inputs."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        """Return the shape of the inputs with the new height and width."""
        height, width = self._axes(len(input_shape))
        size = self._size(input_shape[height], input_shape[width])
        return (*input_shape[:height], *size, *input_shape[width + 1 :])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Resample images ``[N, H, W, C]``, or ``[N, C, H, W]`` for ``"channels_first"``.

        Raises:
            ValueError: if height or width are unknown.
        """
        height, width = self._axes(len(inputs.shape))
        sizes = inputs.shape[height], inputs.shape[width]
        if None in sizes:
            raise ValueError(
                f"{self.name} needs images of known height and width, got {inputs.shape}: give both to "
                "keras.Input"
            )
        rows, columns = (
            tf.constant(_matrix(old, new, self.interpolation, self.antialias), self.compute_dtype)
            for old, new in zip(sizes, self._size(*sizes), strict=True)
        )
        equation = "im,jn,...mn->...ij" if width == len(inputs.shape) - 1 else "im,jn,...mnc->...ijc"
        return tf.einsum(equation, rows, columns, tf.cast(inputs, self.compute_dtype))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        config = {"data_format": self.data_format, "interpolation": self.interpolation}
        return {**super().get_config(), **config}

    def _axes(self, rank: int) -> tuple[int, int]:
        return (rank - 2, rank - 1) if self.data_format == "channels_first" else (rank - 3, rank - 2)


@keras.saving.register_keras_serializable(package="metalearn")
class UpSampling2D(_Resampling):
    """Upsampling of images; ``keras.layers.UpSampling2D`` with exact second derivatives.

    Arguments are those of Keras. Height and width of the inputs have to be known.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **options: Any,
    ) -> None:
        super().__init__(data_format, interpolation, antialias=False, **options)
        self.size = (size, size) if isinstance(size, int) else tuple(size)

    def _size(self, height: int | None, width: int | None) -> tuple[int | None, int | None]:
        return height and height * self.size[0], width and width * self.size[1]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package="metalearn")
class Resizing(_Resampling):
    """Resizing of images; ``keras.layers.Resizing`` with exact second derivatives.

    Arguments are those of Keras; inputs can only be images (no boxes, no labels). Height and width of the
    inputs have to be known.

    Raises:
        ValueError: if cropping or padding to keep the aspect ratio is requested.
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        for name, value in (
            ("crop_to_aspect_ratio", crop_to_aspect_ratio),
            ("pad_to_aspect_ratio", pad_to_aspect_ratio),
        ):
            if value:
                raise ValueError(
                    f"{name}={value!r} is not supported with exact second derivatives: crop or pad in a "
                    "separate layer (CenterCrop, ZeroPadding2D)"
                )
        super().__init__(data_format, interpolation, antialias, **options)
        self.height, self.width = height, width
        self._fill = {"fill_mode": fill_mode, "fill_value": fill_value}

    def _size(self, height: int | None, width: int | None) -> tuple[int | None, int | None]:
        return self.height, self.width

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"height": self.height, "width": self.width, "antialias": self.antialias}
        return {**super().get_config(), **own, **self._fill}


@functools.cache
def _matrix(old: int, new: int, interpolation: str, antialias: bool) -> np.ndarray:
    """Return the matrix ``[new, old]`` of a resizing method, obtained by resizing unit vectors with Keras."""
    with tf.init_scope():  # computed eagerly, even if a graph is being traced
        columns = tf.reshape(tf.eye(old), [old, old, 1, 1])
        resized = keras.ops.image.resize(
            columns, (new, 1), interpolation=interpolation, antialias=antialias, data_format="channels_last"
        )
        return np.transpose(np.reshape(resized, [old, new]))

"""Max-pooling with exact second derivatives in every program.

Under XLA, the second derivative of TensorFlow's max-pooling compares float32 entries by their first 16 bits,
so it can choose the wrong one of two close entries, and it does not exist in float64. The derivative of
``tf.reduce_max`` searches for the entry that equals the maximum, but XLA recomputes both with different
rounding. ``tf.maximum`` of two slices compares once, and passes derivatives of every order to one of them.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metalearn.nn.layers.normalization import Shape
from metalearn.nn.layers.patches import order_of_axes, pair, require_padding


@keras.saving.register_keras_serializable(package="metalearn")
class MaxPooling2D(keras.layers.Layer):
    """Max-pooling of images; ``keras.layers.MaxPooling2D`` with exact derivatives of every order.

    ::

        y[i, j] = max_{m < P, n < Q} x[S i + m, R j + n]

    with windows ``[P, Q]`` and strides ``(S, R)``; windows may overlap. Values and arguments are those of
    Keras. Among equal entries, one has the complete derivative. Height and width of the inputs have to be
    known.

    Args:
        pool_size: P and Q, the height and width of the windows; a number for both.
        strides: S and R, the distances between windows; a number for both; None for ``pool_size``.
        padding: ``"valid"``: only windows within the image; ``"same"``: ``ceil(size / stride)`` windows,
            which are truncated at the edges.
        data_format: ``"channels_last"`` or ``"channels_first"``; None for Keras' setting.

    Raises:
        ValueError: if a size or stride is not an integer of at least 1, or the padding or the data format is
            unknown.
    """

    def __init__(
        self,
        pool_size: int | tuple[int, int] = (2, 2),
        strides: int | tuple[int, int] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.pool_size = pair("pool_size", pool_size)
        self.strides = self.pool_size if strides is None else pair("strides", strides)
        require_padding(padding)
        self.padding = padding
        self.data_format = order_of_axes(data_format)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Pool images ``[N, H, W, C]``, or ``[N, C, H, W]`` for ``"channels_first"``.

        Raises:
            ValueError: if height or width are unknown, or smaller than a window with ``padding="valid"``.
        """
        outputs = tf.convert_to_tensor(inputs)
        self.compute_output_shape(outputs.shape)
        for axis, window, stride in zip(self._axes, self.pool_size, self.strides, strict=True):
            size = outputs.shape[axis]
            if size is None:
                raise ValueError(
                    f"{self.name} needs images of known height and width, got {inputs.shape}: give both to "
                    "keras.Input"
                )
            count = self._count(size, window, stride)
            before = max((count - 1) * stride + window - size, 0) // 2 if self.padding == "same" else 0
            parts = (_every(outputs, axis, offset - before, stride, count) for offset in range(window))
            outputs = functools.reduce(tf.maximum, parts)
        return outputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the inputs with the new height and width.

        Raises:
            ValueError: if they are smaller than a window with ``padding="valid"``.
        """
        shape = list(input_shape)
        for axis, window, stride in zip(self._axes, self.pool_size, self.strides, strict=True):
            size = shape[axis]
            if size is None:
                continue
            shape[axis] = count = self._count(size, window, stride)
            if count < 1:
                raise ValueError(
                    f"{self.name}: pool_size={self.pool_size} does not fit into inputs {tuple(input_shape)}: "
                    "use a smaller one, or padding='same'"
                )
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        config = {
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }
        return {**super().get_config(), **config}

    @property
    def _axes(self) -> tuple[int, int]:
        return (2, 3) if self.data_format == "channels_first" else (1, 2)

    def _count(self, size: int, window: int, stride: int) -> int:
        """Return the number of windows along an axis."""
        return -(-size // stride) if self.padding == "same" else (size - window) // stride + 1


def _every(x: tf.Tensor, axis: int, start: int, stride: int, count: int) -> tf.Tensor:
    """Return entries ``start, start + stride, ...`` of an axis, with indices outside moved to its edge.

    The edge is within the window, so repeating its entry does not change the maximum. ``tf.pad`` is not used:
    its gradient is a ``tf.slice``, which has no second derivative under XLA.
    """
    size, last = x.shape[axis], start + (count - 1) * stride
    if start >= 0 and last < size:
        return x[(slice(None),) * axis + (slice(start, last + 1, stride),)]
    return tf.gather(x, np.clip(start + stride * np.arange(count), 0, size - 1), axis=axis)

"""The four-block convolutional network with context parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.nn.models.conv4 import build_conv4

MODULATED = 2
"""The modulated block, counted from 0: the third, as in the paper."""


def context_conv4(
    image: Sequence[int] = (28, 28, 1),
    ways: int = 5,
    filters: int = 64,
    context: int = 100,
    reduce: str = "stride",
    output: str = "glorot_uniform",
    dtype: str | None = None,
) -> keras.Model:
    """Build :func:`conv4` with a third block that is modulated by a trainable vector.

    ::

        h[..., f] = relu((1 + (A c + a)[f]) BN(conv(x))[..., f] + (B c + b)[f])

    with the vector c, zero at the start, as the parameter ``film/context``. In CAVIA only this vector is
    adapted (``adapted="context"``); it identifies the task for the shared network. Deviation: the scale is 1
    plus a linear map of c, so that the network with a context of zeros and ``a = b = 0`` is conv4.

    Args:
        image: the height, width and channels of an image.
        ways: the number of classes, at least 2.
        filters: F, the filters of each convolution.
        context: the length of c, at least 1; 100 in the paper.
        reduce: how a block halves the image, see :func:`conv4`.
        output: the initializer of the last kernel. With ``"zeros"`` the first gradient with respect to the
            context is zero.
        dtype: the type of parameters and arithmetic; Keras' ``floatx`` by default.

    Returns:
        A built model ``[N, H, W, C] -> [N, ways]`` (logits).

    Raises:
        ValueError: if an argument is not valid, see :func:`conv4`, or ``context`` is not a positive integer.

    References: Zintgraf et al. (2019), "Fast Context Adaptation via Meta-Learning", sections 3.3 and 5.2;
    Perez et al. (2018), "FiLM: Visual Reasoning with a General Conditioning Layer".
    """
    require_count("context", context)
    film = Modulation(context, name="film", dtype=dtype)
    return build_conv4(image, ways, filters, reduce, output, dtype, "context_conv4", {MODULATED: film})


@keras.saving.register_keras_serializable(package="metalearn")
class Modulation(keras.layers.Layer):
    """Scales and shifts each channel by linear functions of a trainable vector (FiLM)."""

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(**options)
        self.size = size

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the vector ``[size]``, and the maps to scales and shifts: ``[size, F]`` and ``[F]`` each."""
        channels = input_shape[-1]
        self.context = self.add_weight(name="context", shape=(self.size,), initializer="zeros")
        for name in ("scale", "shift"):
            kernel = self.add_weight(name=f"{name}_kernel", shape=(self.size, channels))
            bias = self.add_weight(name=f"{name}_bias", shape=(channels,), initializer="zeros")
            setattr(self, f"{name}_kernel", kernel)
            setattr(self, f"{name}_bias", bias)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return modulated images ``[N, H, W, F]``."""
        context = tf.convert_to_tensor(self.context)[None]
        scale = tf.matmul(context, tf.convert_to_tensor(self.scale_kernel)) + self.scale_bias
        shift = tf.matmul(context, tf.convert_to_tensor(self.shift_kernel)) + self.shift_bias
        return inputs * (1 + scale) + shift

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the shape of the outputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "size": self.size}

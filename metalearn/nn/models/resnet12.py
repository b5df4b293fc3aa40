"""The residual network of few-shot classification."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from metalearn.checks import require_count
from metalearn.nn.layers import BatchNormalization, Conv2D, Dense, MaxPooling2D
from metalearn.nn.models.conv4 import require_image

SLOPE = 0.1
"""The slope of the leaky ReLU below zero."""


def resnet12(
    image: Sequence[int] = (84, 84, 3),
    ways: int = 5,
    filters: Sequence[int] = (64, 160, 320, 640),
    average: bool = False,
    dtype: str | None = None,
) -> keras.Model:
    """Build residual blocks of three convolutions each, and a linear layer.

    ::

        h = lrelu(BN(conv(x)));  h = lrelu(BN(conv(h)));  h = BN(conv(h))         3 x 3, no biases
        y = max over 2 x 2 of lrelu(h + BN(conv(x)))                              1 x 1, no bias

    with ``lrelu(z) = max(z, z/10)``. Kernels are initialised Glorot-uniform. The statistics of batch
    normalisation are set by the learner (``MetaLearner(statistics=...)``). Deviation: the paper's DropBlock
    and dropout are omitted.

    Args:
        image: the height, width and channels of an image; every block halves height and width.
        ways: the number of classes, at least 2.
        filters: the filters of the convolutions in each block.
        average: whether the 640 features are means over the last image, instead of the flattened last image
            with 16 000 features for 84 x 84.
        dtype: the type of parameters and arithmetic; Keras' ``floatx`` by default.

    Returns:
        A built model ``[N, H, W, C] -> [N, ways]`` (logits), 12.4 million parameters before its last layer.

    Raises:
        ValueError: if a size is not an integer of at least 1, or the image is too small for the blocks.

    Reference: Lee, Maji, Ravichandran and Soatto (2019), "Meta-Learning with Differentiable Convex
    Optimization", section 4.1.
    """
    require_count("ways", ways, minimum=2)
    if isinstance(filters, int | str) or not filters:
        raise ValueError(f"filters must be a list of numbers, one for each block, got {filters!r}")
    for index, count in enumerate(filters):
        require_count(f"filters[{index}]", count)
    require_image(image, 2 ** len(filters), "fewer blocks (filters)")
    x = inputs = keras.Input(tuple(image), dtype=dtype)
    for block, count in enumerate(filters):
        x = _block(x, count, f"_{block}", dtype)
    flat = keras.layers.GlobalAveragePooling2D if average else keras.layers.Flatten
    features = flat(name="features", dtype=dtype)(x)
    return keras.Model(inputs, Dense(ways, name="output", dtype=dtype)(features), name="resnet12")


def _block(x: keras.KerasTensor, filters: int, number: str, dtype: str | None) -> keras.KerasTensor:
    def normalised(x: keras.KerasTensor, size: int, name: str) -> keras.KerasTensor:
        conv = Conv2D(filters, size, padding="same", use_bias=False, name=f"conv{name}", dtype=dtype)
        return BatchNormalization(name=f"norm{name}", dtype=dtype)(conv(x))

    def leaky(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return keras.layers.LeakyReLU(SLOPE, name=f"relu{name}", dtype=dtype)(x)

    residual = x
    for layer in "ab":
        residual = leaky(normalised(residual, 3, f"{number}{layer}"), f"{number}{layer}")
    residual = normalised(residual, 3, f"{number}c")
    skip = normalised(x, 1, f"{number}_skip")
    joined = keras.layers.Add(name=f"add{number}", dtype=dtype)([residual, skip])
    return MaxPooling2D(name=f"pool{number}", dtype=dtype)(leaky(joined, f"{number}c"))

"""The four-block convolutional network of few-shot classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras

from metalearn.checks import require_count
from metalearn.nn.layers import BatchNormalization, Conv2D, Dense, MaxPooling2D

BLOCKS = 4

KINDS = ("stride", "pool")

OUTPUTS = ("glorot_uniform", "zeros")


def conv4(
    image: Sequence[int] = (28, 28, 1),
    ways: int = 5,
    filters: int = 64,
    reduce: str = "stride",
    output: str = "glorot_uniform",
    dtype: str | None = None,
) -> keras.Model:
    """Build four blocks of convolution, batch normalisation and ReLU, and a linear layer.

    ==========  =====================================================  ====================  ===============
    reduce      a block                                                before ``output``     used for
    ==========  =====================================================  ====================  ===============
    stride      3 x 3 convolution with stride 2                        mean over the image   Omniglot
    pool        3 x 3 convolution, 2 x 2 max-pooling after the ReLU    flattened image       mini-ImageNet
    ==========  =====================================================  ====================  ===============

    Kernels are initialised Glorot-uniform, biases with zeros. The last kernel can be initialised with zeros
    as well: the first inner step then compares a query with the support without the interference of random
    outputs (Kao, Chiu and Chen 2022, "MAML is a Noisy Contrastive Learner in Classification"). The statistics
    of batch normalisation are set by the learner (``MetaLearner(statistics=...)``); results depend on them.

    Args:
        image: the height, width and channels of an image; 84 x 84 x 3 in mini-ImageNet.
        ways: the number of classes, at least 2.
        filters: the filters of each convolution; 64 in the paper for Omniglot, 32 for mini-ImageNet.
        reduce: how a block halves the image: ``"stride"`` or ``"pool"``.
        output: the initializer of the last kernel: ``"glorot_uniform"`` or ``"zeros"``.
        dtype: the type of parameters and arithmetic; Keras' ``floatx`` by default.

    Returns:
        A built model ``[N, H, W, C] -> [N, ways]`` (logits).

    Raises:
        ValueError: if a size is not an integer of at least 1, ``reduce`` or ``output`` is unknown, or the
            image is too small for four blocks.

    References: Vinyals et al. (2016), "Matching Networks for One Shot Learning", section 4.1; Finn, Abbeel
    and Levine (2017), "Model-Agnostic Meta-Learning", section 5.2.
    """
    return build_conv4(image, ways, filters, reduce, output, dtype, "conv4", {})


def build_conv4(
    image: Sequence[int],
    ways: int,
    filters: int,
    reduce: str,
    output: str,
    dtype: str | None,
    name: str,
    modulations: Mapping[int, keras.layers.Layer],
) -> keras.Model:
    """Build the network, with additional layers between normalisation and ReLU of some blocks.

    Args:
        image: see :func:`conv4`, as all arguments up to ``dtype``.
        ways: likewise.
        filters: likewise.
        reduce: likewise.
        output: likewise.
        dtype: likewise.
        name: the model's name.
        modulations: additional layers by the number of the block, from 0.
    """
    _require(image, ways, filters, reduce, output)
    strides = 2 if reduce == "stride" else 1
    layers: list[keras.layers.Layer] = [keras.Input(tuple(image), dtype=dtype)]
    for block in range(BLOCKS):
        layers += [
            Conv2D(filters, 3, strides, "same", name=f"conv_{block}", dtype=dtype),
            BatchNormalization(name=f"norm_{block}", dtype=dtype),
            *([modulations[block]] if block in modulations else []),
            keras.layers.ReLU(name=f"relu_{block}", dtype=dtype),
        ]
        if reduce == "pool":
            layers.append(MaxPooling2D(name=f"pool_{block}", dtype=dtype))
    flat = keras.layers.Flatten if reduce == "pool" else keras.layers.GlobalAveragePooling2D
    layers += [
        flat(name="features", dtype=dtype),
        Dense(ways, kernel_initializer=output, name="output", dtype=dtype),
    ]
    return keras.Sequential(layers, name=name)


def _require(image: Sequence[int], ways: int, filters: int, reduce: str, output: str) -> None:
    """Raise ValueError for the first invalid argument."""
    require_count("filters", filters)
    require_count("ways", ways, minimum=2)
    for name, given, known in (("reduce", reduce, KINDS), ("output", output, OUTPUTS)):
        if given not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {given!r}")
    require_image(image, 2**BLOCKS if reduce == "pool" else 1, "reduce='stride'")


def require_image(image: Sequence[int], smallest: int, remedy: str) -> None:
    """Raise ValueError unless an image has height, width and channels and is large enough for a network."""
    if isinstance(image, str) or len(tuple(image)) != 3:
        raise ValueError(f"image must be height, width and channels, got {image!r}")
    for name, size in zip(("height", "width", "channels"), image, strict=True):
        require_count(f"image {name}", size)
    if min(image[:2]) < smallest:
        raise ValueError(f"image={tuple(image)} is smaller than {smallest} x {smallest}: use {remedy}")

"""Layers of Keras, a case for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras

import metalearn as ml

from .cases import Case, Draw, integers, normal, spaced

L = keras.layers
OURS = ml.layers

Layers = dict[str, Callable[[], Any]]
ByInputs = dict[tuple[str, tuple[Draw, ...]], dict[str, Callable[..., Any]]]

ROWS, SEQUENCE, IMAGE, VOLUME = normal(4, 6), normal(2, 3, 2), normal(2, 6, 6, 2), normal(2, 4, 4, 4, 2)

ONE_INPUT: dict[tuple[str, Draw], Layers] = {
    ("core", ROWS): {
        "Dense": lambda: L.Dense(3, "tanh"),
        "metalearn.layers.Dense": lambda: OURS.Dense(3, "tanh"),
        "EinsumDense": lambda: L.EinsumDense("ab,bc->ac", 3, activation="tanh"),
        "Lambda": lambda: L.Lambda(keras.ops.tanh),
        "Identity": L.Identity,
        "Activation": lambda: L.Activation("tanh"),
        "ReLU": L.ReLU,
        "LeakyReLU": L.LeakyReLU,
        "PReLU": L.PReLU,
        "ELU": L.ELU,
        "Softmax": L.Softmax,
    },
    ("core", integers(2, 5, below=7)): {"Embedding": lambda: L.Embedding(7, 3)},
    ("convolution", normal(2, 6, 2)): {
        "Conv1D": lambda: L.Conv1D(3, 3, activation="tanh"),
        "Conv1D (causal)": lambda: L.Conv1D(3, 3, padding="causal", activation="tanh"),
        "DepthwiseConv1D": lambda: L.DepthwiseConv1D(3, activation="tanh"),
        "SeparableConv1D": lambda: L.SeparableConv1D(3, 3, activation="tanh"),
        "Conv1DTranspose": lambda: L.Conv1DTranspose(3, 3, activation="tanh"),
    },
    ("convolution", IMAGE): {
        "Conv2D": lambda: L.Conv2D(3, 3, activation="tanh"),
        "Conv2D (strides)": lambda: L.Conv2D(3, 3, strides=2, padding="same", activation="tanh"),
        "Conv2D (dilated)": lambda: L.Conv2D(3, 2, dilation_rate=2, activation="tanh"),
        "Conv2D (groups)": lambda: L.Conv2D(4, 3, groups=2, activation="tanh"),
        "DepthwiseConv2D": lambda: L.DepthwiseConv2D(3, activation="tanh"),
        "SeparableConv2D": lambda: L.SeparableConv2D(3, 3, activation="tanh"),
        "Conv2DTranspose": lambda: L.Conv2DTranspose(3, 3, strides=2, activation="tanh"),
    },
    ("convolution", VOLUME): {
        "Conv3D": lambda: L.Conv3D(2, 2, activation="tanh"),
        "Conv3DTranspose": lambda: L.Conv3DTranspose(2, 2, activation="tanh"),
    },
    ("pooling", spaced(2, 6, 2)): {
        "MaxPooling1D": lambda: L.MaxPooling1D(2),
        "AveragePooling1D": lambda: L.AveragePooling1D(2),
        "GlobalMaxPooling1D": lambda: L.GlobalMaxPooling1D(),
        "GlobalAveragePooling1D": lambda: L.GlobalAveragePooling1D(),
        "AdaptiveMaxPooling1D": lambda: L.AdaptiveMaxPooling1D(4),
        "AdaptiveAveragePooling1D": lambda: L.AdaptiveAveragePooling1D(4),
    },
    ("pooling", spaced(2, 6, 6, 2)): {
        "MaxPooling2D": lambda: L.MaxPooling2D(2),
        "MaxPooling2D (overlapping)": lambda: L.MaxPooling2D(3, strides=1),
        "metalearn.layers.MaxPooling2D": lambda: OURS.MaxPooling2D(2),
        "AveragePooling2D": lambda: L.AveragePooling2D(2),
        "GlobalMaxPooling2D": lambda: L.GlobalMaxPooling2D(),
        "GlobalAveragePooling2D": lambda: L.GlobalAveragePooling2D(),
        "AdaptiveMaxPooling2D": lambda: L.AdaptiveMaxPooling2D(4),
        "AdaptiveAveragePooling2D": lambda: L.AdaptiveAveragePooling2D(4),
    },
    ("pooling", spaced(2, 4, 4, 4, 2)): {
        "MaxPooling3D": lambda: L.MaxPooling3D(2),
        "AveragePooling3D": lambda: L.AveragePooling3D(2),
        "GlobalMaxPooling3D": lambda: L.GlobalMaxPooling3D(),
        "GlobalAveragePooling3D": lambda: L.GlobalAveragePooling3D(),
        "AdaptiveMaxPooling3D": lambda: L.AdaptiveMaxPooling3D(2),
        "AdaptiveAveragePooling3D": lambda: L.AdaptiveAveragePooling3D(2),
    },
    ("recurrent", SEQUENCE): {
        "SimpleRNN": lambda: L.SimpleRNN(3),
        "SimpleRNN (unroll)": lambda: L.SimpleRNN(3, unroll=True),
        "GRU": lambda: L.GRU(3),
        "GRU (unroll)": lambda: L.GRU(3, unroll=True),
        "LSTM": lambda: L.LSTM(3),
        "LSTM (unroll)": lambda: L.LSTM(3, unroll=True),
        "RNN": lambda: L.RNN(L.SimpleRNNCell(3)),
        "StackedRNNCells (unroll)": lambda: L.RNN(
            L.StackedRNNCells([L.SimpleRNNCell(3), L.LSTMCell(2), L.GRUCell(2)]), unroll=True
        ),
        "Bidirectional": lambda: L.Bidirectional(L.SimpleRNN(3)),
        "Bidirectional (unroll)": lambda: L.Bidirectional(L.SimpleRNN(3, unroll=True)),
        "TimeDistributed": lambda: L.TimeDistributed(L.Dense(3, "tanh")),
    },
    ("recurrent", normal(2, 3, 4, 2)): {"ConvLSTM1D": lambda: L.ConvLSTM1D(2, 2)},
    ("recurrent", normal(2, 3, 4, 4, 2)): {"ConvLSTM2D": lambda: L.ConvLSTM2D(2, 2)},
    ("recurrent", normal(2, 2, 3, 3, 3, 2)): {"ConvLSTM3D": lambda: L.ConvLSTM3D(2, 2)},
    ("normalisation", ROWS): {
        "BatchNormalization": lambda: L.BatchNormalization(),
        "BatchNormalization (trainable=False)": lambda: L.BatchNormalization(trainable=False),
        "LayerNormalization": lambda: L.LayerNormalization(),
        "LayerNormalization (rms_scaling)": lambda: L.LayerNormalization(rms_scaling=True),
        "RMSNormalization": lambda: L.RMSNormalization(),
        "UnitNormalization": lambda: L.UnitNormalization(),
        "Normalization": lambda: L.Normalization(mean=0.1, variance=2.0),
        "SpectralNormalization": lambda: L.SpectralNormalization(L.Dense(3, "tanh")),
        "metalearn.layers.BatchNormalization": lambda: OURS.BatchNormalization(),
        "metalearn.layers.LayerNormalization": lambda: OURS.LayerNormalization(),
    },
    ("normalisation", normal(3, 4, 4, 4)): {
        "GroupNormalization": lambda: L.GroupNormalization(2),
        "metalearn.layers.GroupNormalization": lambda: OURS.GroupNormalization(2),
    },
    ("regularisation", ROWS): {
        "Dropout": lambda: L.Dropout(0.3, seed=1),
        "AlphaDropout": lambda: L.AlphaDropout(0.3, seed=1),
        "GaussianDropout": lambda: L.GaussianDropout(0.3, seed=1),
        "GaussianNoise": lambda: L.GaussianNoise(0.3, seed=1),
        "ActivityRegularization": lambda: L.ActivityRegularization(l2=0.1),
    },
    ("regularisation", SEQUENCE): {"SpatialDropout1D": lambda: L.SpatialDropout1D(0.3, seed=1)},
    ("regularisation", IMAGE): {"SpatialDropout2D": lambda: L.SpatialDropout2D(0.3, seed=1)},
    ("regularisation", VOLUME): {"SpatialDropout3D": lambda: L.SpatialDropout3D(0.3, seed=1)},
    ("reshaping", SEQUENCE): {
        "Flatten": lambda: L.Flatten(),
        "Reshape": lambda: L.Reshape((2, 3)),
        "Permute": lambda: L.Permute((2, 1)),
        "Masking": lambda: L.Masking(),
        "Rescaling": lambda: L.Rescaling(2.0, 0.5),
        "Cropping1D": lambda: L.Cropping1D(),
        "ZeroPadding1D": lambda: L.ZeroPadding1D(),
        "UpSampling1D": lambda: L.UpSampling1D(),
    },
    ("reshaping", ROWS): {"RepeatVector": lambda: L.RepeatVector(3)},
    ("reshaping", IMAGE): {
        "Cropping2D": lambda: L.Cropping2D(),
        "ZeroPadding2D": lambda: L.ZeroPadding2D(),
        "CenterCrop": lambda: L.CenterCrop(3, 3),
        "UpSampling2D": lambda: L.UpSampling2D(),
        "UpSampling2D (bilinear)": lambda: L.UpSampling2D(interpolation="bilinear"),
        "UpSampling2D (bicubic)": lambda: L.UpSampling2D(interpolation="bicubic"),
        "UpSampling2D (lanczos3)": lambda: L.UpSampling2D(interpolation="lanczos3"),
        "Resizing": lambda: L.Resizing(3, 4),
        "Resizing (nearest)": lambda: L.Resizing(3, 4, interpolation="nearest"),
        "Resizing (area)": lambda: L.Resizing(3, 4, interpolation="area"),
        "metalearn.layers.UpSampling2D": lambda: OURS.UpSampling2D(interpolation="bicubic"),
        "metalearn.layers.Resizing": lambda: OURS.Resizing(3, 4),
    },
    ("reshaping", VOLUME): {
        "Cropping3D": lambda: L.Cropping3D(),
        "ZeroPadding3D": lambda: L.ZeroPadding3D(),
        "UpSampling3D": lambda: L.UpSampling3D(),
    },
}
"""Layers by family and input."""

MERGING = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")


def _merge(name: str, *tensors: Any) -> Any:
    return getattr(L, name)()(list(tensors))


OTHER: ByInputs = {
    ("merging", (ROWS, ROWS)): {
        **{name: partial(_merge, name) for name in MERGING},
        "Dot": lambda a, b: L.Dot(1)([a, b]),
    },
    ("attention", (SEQUENCE,)): {
        "Attention": lambda x: L.Attention(use_scale=True)([x, x]),
        "Attention (concat)": lambda x: L.Attention(score_mode="concat")([x, x]),
        "AdditiveAttention": lambda x: L.AdditiveAttention()([x, x]),
        "MultiHeadAttention": lambda x: L.MultiHeadAttention(2, 3)(x, x),
        "MultiHeadAttention (flash_attention=False)": lambda x: L.MultiHeadAttention(
            2, 3, flash_attention=False
        )(x, x),
        "GroupQueryAttention": lambda x: L.GroupQueryAttention(3, 2, 1)(x, x),
    },
    ("core", (integers(2, 3, below=7),)): {
        "ReversibleEmbedding": lambda x: (layer := L.ReversibleEmbedding(7, 3))(layer(x), reverse=True),
    },
    ("signals", (normal(2, 40),)): {
        "STFTSpectrogram": lambda x: L.STFTSpectrogram(
            frame_length=16, frame_step=8, fft_length=16, window=None, trainable=True
        )(L.Reshape((40, 1))(x)),
    },
    ("signals", (normal(2, 64),)): {
        "MelSpectrogram": lambda x: L.MelSpectrogram(
            fft_length=16, sequence_stride=8, sampling_rate=100, num_mel_bins=4, min_freq=1.0
        )(x),
    },
}
"""Layers with more than one input or other arguments, as functions, by family and inputs."""

SINGLE = (
    *("AdaptiveAveragePooling3D", "AdaptiveMaxPooling3D", "AveragePooling3D", "MaxPooling3D", "Resizing"),
    *("MelSpectrogram", *(f"UpSampling2D ({way})" for way in ("bilinear", "bicubic", "lanczos3"))),
)
"""Cases for which TensorFlow computes only in float32, or rounds to it."""


EXCLUDED: dict[str, tuple[str, ...]] = {
    "base classes": ("InputSpec", "Layer", "Wrapper"),
    "without computation": ("InputLayer",),
    "parts of audited layers": ("GRUCell", "LSTMCell", "SimpleRNNCell"),
    "wrappers of other frameworks' code": ("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"),
    "for strings and integers": (
        *("CategoryEncoding", "Discretization", "HashedCrossing", "Hashing", "IntegerLookup"),
        *("MaxNumBoundingBoxes", "StringLookup", "TextVectorization"),
    ),
    "augmentation and preprocessing of images, before any learned layer": (
        *("AugMix", "AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization", "CutMix"),
        *("Equalization", "MixUp", "Pipeline", "RandAugment", "RandomBrightness", "RandomColorDegeneration"),
        *("RandomColorJitter", "RandomContrast", "RandomCrop", "RandomElasticTransform", "RandomErasing"),
        *("RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert"),
        *("RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation"),
        *("RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom", "Solarization"),
    ),
}
"""Classes in ``keras.layers`` that are excluded, by reason."""


def layers() -> Iterator[Case]:
    """Yield every case whose layer exists in this version of Keras, and the layers of this package."""
    one_input: ByInputs = {
        (family, (draw,)): {name: partial(_call, make) for name, make in group.items()}
        for (family, draw), group in ONE_INPUT.items()
    }
    for (family, inputs), group in [*one_input.items(), *OTHER.items()]:
        for name, function in group.items():
            single = not {name, name.partition(" ")[0]}.isdisjoint(SINGLE)
            case = Case(name, family, function, inputs, is_layer=True, single=single)
            if name.startswith("metalearn.") or hasattr(L, case.keras_name):
                yield case


def _call(make: Callable[[], Any], tensor: Any) -> Any:
    return make()(tensor)

"""Layers of Keras that the audit leaves out, with the reason."""

from __future__ import annotations

EXCLUDED: dict[str, tuple[str, ...]] = {
    "base classes": ("InputSpec", "Layer", "Wrapper"),
    "compute nothing": ("InputLayer",),
    "within layers that are audited": ("GRUCell", "LSTMCell", "SimpleRNNCell"),
    "made of code from elsewhere": ("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"),
    "of strings and whole numbers": (
        *("CategoryEncoding", "Discretization", "HashedCrossing", "Hashing", "IntegerLookup"),
        *("MaxNumBoundingBoxes", "StringLookup", "TextVectorization"),
    ),
    "random changes and preparation of images, before anything learned": (
        *("AugMix", "AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization", "CutMix"),
        *("Equalization", "MixUp", "Pipeline", "RandAugment", "RandomBrightness", "RandomColorDegeneration"),
        *("RandomColorJitter", "RandomContrast", "RandomCrop", "RandomElasticTransform", "RandomErasing"),
        *("RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert"),
        *("RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation"),
        *("RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom", "Solarization"),
    ),
}
"""Classes in ``keras.layers`` that are left out, under the reason."""

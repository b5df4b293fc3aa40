"""Families of regression tasks with a formula."""

from metalearn.sources.regression.harmonic import Harmonic
from metalearn.sources.regression.linear import Linear
from metalearn.sources.regression.multimodal import Multimodal
from metalearn.sources.regression.polynomial import Polynomial
from metalearn.sources.regression.sinusoid import Sinusoid
from metalearn.sources.regression.step import Step

__all__ = ["Harmonic", "Linear", "Multimodal", "Polynomial", "Sinusoid", "Step"]

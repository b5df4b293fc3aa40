"""Where tasks come from."""

from metalearn.sources.regression import Harmonic, Linear, Multimodal, Polynomial, Sinusoid, Step

__all__ = ["Harmonic", "Linear", "Multimodal", "Polynomial", "Sinusoid", "Step"]

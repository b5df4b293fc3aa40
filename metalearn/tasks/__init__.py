"""Task distributions: what the learner is to become good at adapting to."""

from metalearn.tasks.harmonic import Harmonic
from metalearn.tasks.linear import Linear
from metalearn.tasks.multimodal import Multimodal
from metalearn.tasks.polynomial import Polynomial
from metalearn.tasks.sinusoid import Sinusoid
from metalearn.tasks.step import Step

__all__ = ["Harmonic", "Linear", "Multimodal", "Polynomial", "Sinusoid", "Step"]

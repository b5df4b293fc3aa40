"""Task distributions: what the learner is to become good at adapting to."""

from metalearn.tasks.sinusoid import Sinusoid

__all__ = ["Sinusoid"]

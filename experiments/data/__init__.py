"""Sets of images as sources of few-shot classification: drawn here, or read from the user's folder."""

from .sources import folder, glyphs, omniglot

__all__ = ["folder", "glyphs", "omniglot"]

"""Data sets as sources: images for few-shot classification, and single sets of examples in parts."""

from .examples import examples, linear, one_of_each_class
from .sources import folder, glyphs, omniglot

__all__ = ["examples", "folder", "glyphs", "linear", "omniglot", "one_of_each_class"]

"""Data sets as sources: images for few-shot classification, and single sets of examples in parts."""

from .examples import examples, inner_examples, linear, one_of_each_class
from .sources import folder, glyphs, mini_imagenet, omniglot

__all__ = [
    "examples",
    "folder",
    "glyphs",
    "inner_examples",
    "linear",
    "mini_imagenet",
    "omniglot",
    "one_of_each_class",
]

"""Derivatives of functions of nested tensors, usable on their own."""

from metalearn.derivatives.products import names, require_connected, value_and_gradient

__all__ = ["names", "require_connected", "value_and_gradient"]

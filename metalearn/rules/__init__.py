"""Differentiable inner update rules: pure functions, so that gradients flow through them."""

from metalearn.rules.sgd import sgd

__all__ = ["sgd"]

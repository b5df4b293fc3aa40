"""Estimators of the meta-gradient, interchangeable: ``(problem, meta, tasks) -> MetaGradient``."""

from metalearn.estimators.first_order import first_order
from metalearn.estimators.mixed_mode import mixed_mode
from metalearn.estimators.unrolled import unrolled

__all__ = ["first_order", "mixed_mode", "unrolled"]

"""Estimators of the meta-gradient, interchangeable: ``(problem, meta, tasks) -> MetaGradient``."""

from metalearn.estimators.annealed import annealed
from metalearn.estimators.evolution import evolution
from metalearn.estimators.first_order import first_order
from metalearn.estimators.forward_mode import forward_mode
from metalearn.estimators.frozen import frozen
from metalearn.estimators.implicit import implicit
from metalearn.estimators.mixed_mode import mixed_mode
from metalearn.estimators.reptile import reptile
from metalearn.estimators.truncated import truncated
from metalearn.estimators.unrolled import unrolled

__all__ = [
    "annealed",
    "evolution",
    "first_order",
    "forward_mode",
    "frozen",
    "implicit",
    "mixed_mode",
    "reptile",
    "truncated",
    "unrolled",
]

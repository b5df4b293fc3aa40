"""Diagnostics of meta-gradients: second-order part, conflicts between tasks, inner loop, outer update.

Each diagnostic is a pure function that returns a flat dictionary of scalars; ``MEANINGS`` describes them.
"""

from metalearn.diagnostics.conflicts import conflicts
from metalearn.diagnostics.diagnose import diagnose
from metalearn.diagnostics.horizon import Compared, cotangent_growth, variance_at_equal_cost
from metalearn.diagnostics.inner import inner_loop
from metalearn.diagnostics.meanings import MEANINGS, meaning
from metalearn.diagnostics.order import order
from metalearn.diagnostics.update import learned_statistics, learned_values, update_ratios

__all__ = [
    "MEANINGS",
    "Compared",
    "conflicts",
    "cotangent_growth",
    "diagnose",
    "inner_loop",
    "learned_statistics",
    "learned_values",
    "meaning",
    "order",
    "update_ratios",
    "variance_at_equal_cost",
]

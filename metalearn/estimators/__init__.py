"""Interchangeable estimators of the meta-gradient: frozen records that are called with a bilevel problem."""

from metalearn.estimators.annealed import annealed
from metalearn.estimators.checkpointed import checkpointed
from metalearn.estimators.evolution import evolution
from metalearn.estimators.first_order import first_order
from metalearn.estimators.forward_mode import forward_mode
from metalearn.estimators.frozen import frozen
from metalearn.estimators.implicit import implicit
from metalearn.estimators.lookup import get
from metalearn.estimators.natural import natural
from metalearn.estimators.persistent_evolution import persistent_evolution
from metalearn.estimators.protocol import Estimator
from metalearn.estimators.reptile import reptile
from metalearn.estimators.truncated import truncated
from metalearn.estimators.unrolled import unrolled

mixed_mode = checkpointed
"""The name in configurations of earlier versions."""

__all__ = [
    "Estimator",
    "annealed",
    "checkpointed",
    "evolution",
    "first_order",
    "forward_mode",
    "frozen",
    "get",
    "implicit",
    "mixed_mode",
    "natural",
    "persistent_evolution",
    "reptile",
    "truncated",
    "unrolled",
]

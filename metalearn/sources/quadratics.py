"""Random quadratic functions, the simplest tasks of learned optimizers."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.random import normal, split_seed
from metalearn.types import Seed, Task


@dataclasses.dataclass(frozen=True)
class Quadratics:
    """Functions ``f(x) = |A (x - c)|^2 / 2``: dicts of ``matrix`` ``[T, D, D]`` and ``center`` ``[T, D]``.

    The entries of A have the variance 1 / D and those of c are standard normal; the curvature A'A has
    eigenvalues from about 0 to 4. Support and query are the same function.

    Attributes:
        size: D, at least 1.

    Raises:
        ValueError: if ``size`` is not a positive integer.

    Reference: after Andrychowicz et al. (2016), "Learning to learn by gradient descent by gradient descent",
    section 3.1.
    """

    size: int = 10

    def __post_init__(self) -> None:
        require_count("size", self.size)

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw functions, a pure function of the seed."""
        first, second = split_seed(seed, 2)
        drawn = {
            "matrix": normal([tasks, self.size, self.size], first, deviation=self.size**-0.5),
            "center": normal([tasks, self.size], second),
        }
        return Task(drawn, tf.nest.map_structure(tf.identity, drawn))

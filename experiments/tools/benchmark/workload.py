"""The workload: meta-training of MAML on sinusoid regression, in the numbers that all programs take."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

TASKS, SHOTS, QUERIES = 25, 10, 10

INNER_RATE, OUTER_RATE = 0.01, 1e-3

AMPLITUDE, PHASE, INPUTS = (0.1, 5.0), (0.0, math.pi), (-5.0, 5.0)


class Program(NamedTuple):
    """A training loop.

    Attributes:
        run: trains for ``iterations`` more iterations and returns the mean query loss of the last one.
        iterations: of a call, which takes about a second, or one iteration if that takes longer.
    """

    run: Callable[[], float]
    iterations: int


Builder = Callable[[int, int], Program]
"""``(inner steps, size) -> Program``: width of the two hidden layers, or support images of a class."""


def layer_sizes(width: int) -> list[tuple[int, int]]:
    """Return inputs and outputs of every layer."""
    return [(1, width), (width, width), (width, 1)]

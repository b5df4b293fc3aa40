"""The workload: meta-training of MAML on sinusoid regression, with the settings of all programs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

TASKS, SHOTS, QUERIES = 25, 10, 10

INNER_RATE, OUTER_RATE = 0.01, 1e-3

AMPLITUDE, PHASE, INPUTS = (0.1, 5.0), (0.0, math.pi), (-5.0, 5.0)


class Program(NamedTuple):
    """A training loop.

    Attributes:
        run: trains for ``iterations`` more iterations and returns the mean query loss of the last one, for
            which a GPU has to finish them.
        iterations: the number of iterations of a call, which takes about a second, or 1 if that takes longer.
    """

    run: Callable[[], float]
    iterations: int


class Size(NamedTuple):
    """The sizes of the sinusoid workload.

    Attributes:
        width: the width of the hidden layers.
        depth: the number of hidden layers.
        examples: the number of examples in the support and in the query.
        tasks: the number of tasks of an iteration.
    """

    width: int = 40
    depth: int = 2
    examples: int = SHOTS
    tasks: int = TASKS

    @property
    def iterations(self) -> int:
        """Iterations of a call, which takes about half a second."""
        layers = self.width + (self.depth - 1) * self.width**2
        work = self.tasks * self.examples * layers / (TASKS * SHOTS * 1640)
        return max(3, round(1000 / max(work, 1)))

    @property
    def block(self) -> int:
        """Iterations whose tasks are drawn together: as many as fit into 64 MB, at most 250."""
        return max(1, min(250, self.iterations, 2**26 // (16 * self.tasks * self.examples)))

    def layers(self) -> list[tuple[int, int]]:
        """Return inputs and outputs of every layer."""
        return list(itertools.pairwise([1, *[self.width] * self.depth, 1]))


def parsed(text: str) -> int | Size:
    """Return the size of a workload from the command line: a number, or ``"width=128,tasks=5"``."""
    if text.isdecimal():
        return int(text)
    return Size(**{name: int(value) for name, _, value in (part.partition("=") for part in text.split(","))})

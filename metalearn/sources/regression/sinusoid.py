"""Sinusoid regression, the first benchmark of MAML."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.random import Range, sample_uniform, split_seed
from metalearn.sources.regression.family import assemble, check_settings, uniform_inputs
from metalearn.types import Seed, Task


@dataclasses.dataclass(frozen=True)
class Sinusoid:
    """Tasks ``y = A sin(x - phase)``, each with its own amplitude A and phase.

    ``A ~ U[amplitude]``, ``phase ~ U[phase]``, ``x ~ U[inputs]``. The predictor 0 has the mean squared error
    ``E[A^2]/2 = 4.252`` with the default ranges; the best predictor that does not adapt,
    ``E[y | x] = -2.55 (2/pi) cos x``, has 3.006.

    Attributes:
        shots: the number of support examples of a task.
        queries: the number of query examples of a task.
        amplitude: the range of A.
        phase: the range of the phase, in radians.
        inputs: the range of x.
        grid: whether query inputs are evenly spaced over the range, ends included, instead of random, as is
            usual in evaluation.
        noise: the standard deviation of Gaussian noise on the targets of the support; the query has none.
        informed: whether ``(A, phase)`` is appended to every input, which becomes ``[T, N, 3]``: the oracle
            of the paper.

    Raises:
        ValueError: if a count is not positive, the noise negative, or the ends of a range are in the wrong
            order.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", section 5.1.
    """

    shots: int = 10
    queries: int = 10
    amplitude: Range = (0.1, 5.0)
    phase: Range = (0.0, math.pi)
    inputs: Range = (-5.0, 5.0)
    grid: bool = False
    noise: float = 0.0
    informed: bool = False

    def __post_init__(self) -> None:
        check_settings(self, "amplitude", "phase", "inputs")

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw tasks as a pure function of the seed, eagerly or in a graph.

        Args:
            seed: two integers.
            tasks: T, at least 1.

        Returns:
            A task with support leaves ``[T, shots, 1]``, query leaves ``[T, queries, 1]`` and parameters
            ``(A, phase)``, ``[T, 2]``, float32.

        Raises:
            ValueError: if ``tasks`` is not a positive integer.
        """
        require_count("tasks", tasks)
        seeds = split_seed(seed, 5)
        amplitude = sample_uniform([tasks, 1, 1], seeds[0], self.amplitude)
        phase = sample_uniform([tasks, 1, 1], seeds[1], self.phase)
        return assemble(
            lambda x: amplitude * tf.sin(x - phase),
            [amplitude, phase],
            uniform_inputs(tasks, self.shots, self.queries, self.inputs, self.grid, seeds[2:4]),
            noise=self.noise,
            seed=seeds[4],
            informed=self.informed,
        )

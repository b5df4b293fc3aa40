"""Sums of two sinusoids with a frequency ratio of two."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.random import Range, sample_normal, sample_uniform, split_seed
from metalearn.sources.regression.family import assemble, check_settings
from metalearn.types import Seed, Task


@dataclasses.dataclass(frozen=True)
class Harmonic:
    """Tasks ``y = a_1 sin(w x + b_1) + a_2 sin(2 w x + b_2)``, each with inputs around its own centre.

    ``a_1, a_2 ~ N(0, 1)``, ``w ~ U[frequency]``, ``b_1, b_2 ~ U[phase]``, ``x ~ N(m, 1)`` with
    ``m ~ U[centre]``. The inputs span several periods of the function, so one task is hard to learn from few
    examples. As the amplitudes are symmetric, the best predictor that does not adapt is 0, with a mean
    squared error of ``E[a_1^2]/2 + E[a_2^2]/2 = 1`` if the range of phases is a multiple of 2 pi.

    Attributes:
        shots: the number of support examples of a task.
        queries: the number of query examples of a task.
        frequency: the range of w.
        phase: the range of b_1 and of b_2, in radians.
        centre: the range of m, the mean of a task's inputs.
        grid: whether query inputs are evenly spaced over [m - 2, m + 2], which contains 95 % of the inputs,
            ends included, instead of random.
        noise: the standard deviation of Gaussian noise on the targets of the support; the query has none.
        informed: whether ``(a_1, a_2, w, b_1, b_2, m)`` is appended to every input, which becomes ``[T, N,
            7]``.

    Raises:
        ValueError: if a count is not positive, the noise negative, or the ends of a range are in the wrong
            order.

    Reference: Lacoste et al. (2018), "Uncertainty in Multitask Transfer Learning", with the ranges of
    torchmeta's ``Harmonic``, which also has no noise by default.
    """

    shots: int = 10
    queries: int = 10
    frequency: Range = (5.0, 7.0)
    phase: Range = (0.0, 2 * math.pi)
    centre: Range = (-4.0, 4.0)
    grid: bool = False
    noise: float = 0.0
    informed: bool = False

    def __post_init__(self) -> None:
        check_settings(self, "frequency", "phase", "centre")

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw tasks as a pure function of the seed, eagerly or in a graph.

        Args:
            seed: two integers.
            tasks: T, at least 1.

        Returns:
            A task with support leaves ``[T, shots, 1]``, query leaves ``[T, queries, 1]`` and parameters
            ``(a_1, a_2, w, b_1, b_2, m)``, ``[T, 6]``, float32.

        Raises:
            ValueError: if ``tasks`` is not a positive integer.
        """
        require_count("tasks", tasks)
        seeds = split_seed(seed, 7)
        amplitudes = sample_normal([tasks, 1, 2], seeds[0])
        frequency = sample_uniform([tasks, 1, 1], seeds[1], self.frequency)
        phases = sample_uniform([tasks, 1, 2], seeds[2], self.phase)
        centre = sample_uniform([tasks, 1, 1], seeds[3], self.centre)

        def function(x: tf.Tensor) -> tf.Tensor:
            angles = frequency * x * tf.constant([1.0, 2.0]) + phases
            return tf.reduce_sum(amplitudes * tf.sin(angles), -1, keepdims=True)

        support = sample_normal([tasks, self.shots, 1], seeds[4])
        if self.grid:
            query = tf.linspace(-2.0, 2.0, self.queries)[None, :, None]
        else:
            query = sample_normal([tasks, self.queries, 1], seeds[5])
        return assemble(
            function,
            [amplitudes, frequency, phases, centre],
            (centre + support, centre + query),
            noise=self.noise,
            seed=seeds[6],
            informed=self.informed,
        )

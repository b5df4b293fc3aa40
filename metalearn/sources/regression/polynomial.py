"""Polynomials of a fixed degree."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.random import Range, sample_uniform, split_seed
from metalearn.sources.regression.family import assemble, check_settings, uniform_inputs
from metalearn.types import Seed, Task


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """Tasks ``y = c_0 + c_1 x + ... + c_degree x^degree``, each with its own coefficients.

    ``c_i ~ U[coefficients]``, independently, and ``x ~ U[inputs]``. With the default ranges, whose
    coefficients are symmetric, the best predictor that does not adapt is 0, with a mean squared error of
    ``(1/3) sum_i E[x^2i] = (1 + 9/3 + 81/5 + 729/7) / 3 = 41.448``. Most of it comes from the ends of the
    range, where the cubic term is up to 27.

    Attributes:
        shots: the number of support examples of a task.
        queries: the number of query examples of a task.
        degree: the highest power, at least 0.
        coefficients: the range of every c_i.
        inputs: the range of x.
        grid: whether query inputs are evenly spaced over the range, ends included, instead of random.
        noise: the standard deviation of Gaussian noise on the targets of the support; the query has none.
        informed: whether the coefficients, c_0 first, are appended to every input, which becomes
            ``[T, N, degree + 2]``.

    Raises:
        ValueError: if a count is too small, the noise negative, or the ends of a range are in the wrong
            order.

    Reference: following Finn and Levine (2018), "Meta-Learning and Universality", the experiment on depth
    with 40 shots and these ranges.
    """

    shots: int = 10
    queries: int = 10
    degree: int = 3
    coefficients: Range = (-1.0, 1.0)
    inputs: Range = (-3.0, 3.0)
    grid: bool = False
    noise: float = 0.0
    informed: bool = False

    def __post_init__(self) -> None:
        check_settings(self, "coefficients", "inputs")
        require_count("degree", self.degree, minimum=0)

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw tasks as a pure function of the seed, eagerly or in a graph.

        Args:
            seed: two integers.
            tasks: T, at least 1.

        Returns:
            A task with support leaves ``[T, shots, 1]``, query leaves ``[T, queries, 1]`` and parameters
            ``(c_0, ..., c_degree)``, ``[T, degree + 1]``, float32.

        Raises:
            ValueError: if ``tasks`` is not a positive integer.
        """
        require_count("tasks", tasks)
        seeds = split_seed(seed, 4)
        coefficients = sample_uniform([tasks, 1, self.degree + 1], seeds[0], self.coefficients)

        def horner(x: tf.Tensor) -> tf.Tensor:
            total = tf.zeros_like(x)
            for power in range(self.degree, -1, -1):
                total = total * x + coefficients[..., power, None]
            return total

        return assemble(
            horner,
            [coefficients],
            uniform_inputs(tasks, self.shots, self.queries, self.inputs, self.grid, seeds[1:3]),
            noise=self.noise,
            seed=seeds[3],
            informed=self.informed,
        )

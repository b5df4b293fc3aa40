"""Step functions."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.random import Range, sample_uniform, split_seed
from metalearn.sources.regression.family import assemble, check_settings, uniform_inputs
from metalearn.types import Seed, Task


@dataclasses.dataclass(frozen=True)
class Step:
    """Tasks ``y = high if x > location else low``, each with its own location, and optionally levels.

    ``location ~ U[location]``, ``low ~ U[low]``, ``high ~ U[high]``, ``x ~ U[inputs]``; by default the step
    is from -1 to 1. Smooth models approximate a discontinuity badly, and few examples determine its location
    poorly.

    With the default ranges the predictor 0 has the mean squared error 1; the best predictor that does not
    adapt, ``E[y | x] = clip(x / 2.5, -1, 1)``, has ``1 - (1/2 + 1/6) = 1/3``. Even the optimal adapted
    predictor has an error, because the location between the two closest examples is unknown.

    Attributes:
        shots: the number of support examples of a task.
        queries: the number of query examples of a task.
        location: the range of the location.
        low: the range of the level up to the location.
        high: the range of the level beyond the location.
        inputs: the range of x.
        grid: whether query inputs are evenly spaced over the range, ends included, instead of random.
        noise: the standard deviation of Gaussian noise on the targets of the support; the query has none.
        informed: whether ``(location, low, high)`` is appended to every input, which becomes ``[T, N, 4]``.

    Raises:
        ValueError: if a count is not positive, the noise negative, or the ends of a range are in the wrong
            order.

    Reference: following Harrison, Sharma and Pavone (2018), "Meta-Learning Priors for Efficient Online
    Bayesian Regression", whose code draws locations from [-2.5, 2.5], has levels -1 and 1, and adds noise.
    """

    shots: int = 10
    queries: int = 10
    location: Range = (-2.5, 2.5)
    low: Range = (-1.0, -1.0)
    high: Range = (1.0, 1.0)
    inputs: Range = (-5.0, 5.0)
    grid: bool = False
    noise: float = 0.0
    informed: bool = False

    def __post_init__(self) -> None:
        check_settings(self, "location", "low", "high", "inputs")

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw tasks as a pure function of the seed, eagerly or in a graph.

        Args:
            seed: two integers.
            tasks: T, at least 1.

        Returns:
            A task with support leaves ``[T, shots, 1]``, query leaves ``[T, queries, 1]`` and parameters
            ``(location, low, high)``, ``[T, 3]``, float32.

        Raises:
            ValueError: if ``tasks`` is not a positive integer.
        """
        require_count("tasks", tasks)
        seeds = split_seed(seed, 6)
        location, low, high = (
            sample_uniform([tasks, 1, 1], seed, bounds)
            for seed, bounds in zip(seeds[:3], (self.location, self.low, self.high), strict=True)
        )
        return assemble(
            lambda x: tf.where(x > location, high, low),
            [location, low, high],
            uniform_inputs(tasks, self.shots, self.queries, self.inputs, self.grid, seeds[3:5]),
            noise=self.noise,
            seed=seeds[5],
            informed=self.informed,
        )

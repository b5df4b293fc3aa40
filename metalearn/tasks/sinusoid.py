"""Sinusoid regression, the first benchmark of MAML."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from metalearn.arguments import require_count, require_range
from metalearn.tasks.sampling import Range, sample_uniform
from metalearn.types import Batch, Task


@dataclasses.dataclass(frozen=True)
class Sinusoid:
    """Tasks ``y = A sin(x - phase)``, each with its own amplitude A and phase.

    ``A ~ U[amplitude]``, ``phase ~ U[phase]``, ``x ~ U[inputs]``, no noise. A predictor that always says
    0 has mean squared error ``E[A^2]/2 = 4.252`` under the default ranges; the best predictor that does
    not adapt, ``E[y | x] = -2.55 (2/pi) cos x``, has 3.006.

    Attributes:
        shots: support examples of a task.
        queries: query examples of a task.
        amplitude: range of A.
        phase: range of the phase, in radians.
        inputs: range of x.
        grid: query inputs evenly spaced over the range, ends included, in place of random ones: the
            usual way to evaluate.

    Raises:
        ValueError: if a count is not positive or a range is the wrong way round.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", section 5.1.
    """

    shots: int = 10
    queries: int = 10
    amplitude: Range = (0.1, 5.0)
    phase: Range = (0.0, math.pi)
    inputs: Range = (-5.0, 5.0)
    grid: bool = False

    def __post_init__(self) -> None:
        require_count("shots", self.shots)
        require_count("queries", self.queries)
        for name in ("amplitude", "phase", "inputs"):
            require_range(name, getattr(self, name))
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def sample(self, seed: tf.Tensor | tuple[int, int], tasks: int) -> Task:
        """Draw tasks as a pure function of the seed, eagerly or in a graph.

        Args:
            seed: two integers.
            tasks: T, at least 1.

        Returns:
            A task with support leaves ``[T, shots, 1]`` and query leaves ``[T, queries, 1]``, float32.
        """
        require_count("tasks", tasks)
        seeds = tf.random.experimental.stateless_split(seed, 4, alg="philox")

        def uniform(index: int, size: int, bounds: Range) -> tf.Tensor:
            return sample_uniform([tasks, size, 1], seeds[index], bounds)

        amplitude, phase = uniform(0, 1, self.amplitude), uniform(1, 1, self.phase)
        support = uniform(2, self.shots, self.inputs)
        if self.grid:
            points = tf.linspace(*map(float, self.inputs), self.queries)
            query = tf.tile(tf.cast(points, tf.float32)[None, :, None], [tasks, 1, 1])
        else:
            query = uniform(3, self.queries, self.inputs)
        return Task(
            support=Batch(support, amplitude * tf.sin(support - phase)),
            query=Batch(query, amplitude * tf.sin(query - phase)),
        )

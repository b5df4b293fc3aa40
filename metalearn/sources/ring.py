"""A mixture of Gaussians on a circle, with noise for a generator."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count, require_positive
from metalearn.random import normal, split_seed, uniform
from metalearn.types import Seed, Structure, Task


class Coverage(NamedTuple):
    """How points cover a mixture.

    Attributes:
        modes: with at least a hundredth of the points near them.
        share: of the points that are near a mode.
    """

    modes: int
    share: float


@dataclasses.dataclass(frozen=True)
class Ring:
    """Gaussians on a circle in the plane: dicts of ``real`` ``[T, N, 2]`` and ``noise`` ``[T, N, Z]``.

    Attributes:
        modes: number of Gaussians, at least 1.
        radius: of the circle.
        deviation: standard deviation of each.
        examples: N, of support and of query.
        noise: Z, standard normal numbers for a generator.

    Raises:
        ValueError: if a number is out of range.

    Reference: Metz et al. (2017), "Unrolled Generative Adversarial Networks", section 3.1.
    """

    modes: int = 8
    radius: float = 2.0
    deviation: float = 0.02
    examples: int = 256
    noise: int = 16

    def __post_init__(self) -> None:
        for name in ("modes", "examples", "noise"):
            require_count(name, getattr(self, name))
        for name in ("radius", "deviation"):
            require_positive(name, getattr(self, name))

    @property
    def means(self) -> np.ndarray:
        """The means, ``[modes, 2]``."""
        angles = np.arange(self.modes) * 2 * math.pi / self.modes
        return self.radius * np.stack([np.cos(angles), np.sin(angles)], 1)

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw mini-batches for support and query, each its own."""
        support, query = split_seed(seed, 2)
        return Task(self._drawn(support, tasks), self._drawn(query, tasks))

    def coverage(self, points: np.ndarray, within: float = 0.3) -> Coverage:
        """Return how many modes points ``[M, 2]`` cover, and how many of them are near one.

        Args:
            points: what a generator makes.
            within: distance from a mean that counts as near.
        """
        distances = np.linalg.norm(np.asarray(points)[:, None] - self.means, axis=-1)
        near = distances.argmin(1)[distances.min(1) < within]
        counts = np.bincount(near, minlength=self.modes)
        return Coverage(int((counts >= len(points) / 100).sum()), len(near) / len(points))

    def _drawn(self, seed: Seed, tasks: int) -> Structure:
        which, spread, noise = split_seed(seed, 3)
        shape = [tasks, self.examples]
        index = tf.cast(self.modes * uniform(shape, which), tf.int32)
        means = tf.gather(tf.constant(self.means, tf.float32), index)
        return {
            "real": means + normal([*shape, 2], spread, deviation=self.deviation),
            "noise": normal([*shape, self.noise], noise),
        }

"""A mixture of Gaussians on a circle, and noise for a generator."""

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
    """The coverage of a mixture's modes by points.

    Attributes:
        modes: the number of modes with at least a hundredth of the points near them.
        share: the fraction of points near a mode.
    """

    modes: tf.Tensor
    share: tf.Tensor


def coverage(points: tf.Tensor, means: tf.Tensor, within: float = 0.3) -> Coverage:
    """Return the number of modes that points cover, and the fraction of points near a mode.

    Args:
        points: generated points, ``[M, 2]``.
        means: the means of the modes, ``[modes, 2]``.
        within: the largest distance from a mean that counts as near; less than half of the distance of modes.
    """
    distances = tf.norm(points[:, None] - means, axis=-1)
    near = tf.cast(distances < within, points.dtype)
    shares = tf.reduce_mean(near, 0)
    return Coverage(tf.reduce_sum(tf.cast(shares >= 0.01, points.dtype)), tf.reduce_sum(shares))


@dataclasses.dataclass(frozen=True)
class Ring:
    """Gaussians on a circle in the plane: dicts of ``real`` ``[T, N, 2]`` and ``noise`` ``[T, N, Z]``.

    Attributes:
        gaussians: the number of Gaussians, at least 1.
        radius: the radius of the circle.
        deviation: the standard deviation of each Gaussian.
        examples: N, the number of examples of support and of query.
        noise_size: Z, the number of standard normal numbers for a generator.

    Raises:
        ValueError: if a number is out of range.

    Reference: Metz et al. (2017), "Unrolled Generative Adversarial Networks", section 3.1.
    """

    gaussians: int = 8
    radius: float = 2.0
    deviation: float = 0.02
    examples: int = 256
    noise_size: int = 16

    def __post_init__(self) -> None:
        for name in ("gaussians", "examples", "noise_size"):
            require_count(name, getattr(self, name))
        for name in ("radius", "deviation"):
            require_positive(name, getattr(self, name))

    @property
    def means(self) -> np.ndarray:
        """The means, ``[gaussians, 2]``."""
        angles = np.arange(self.gaussians) * 2 * math.pi / self.gaussians
        return self.radius * np.stack([np.cos(angles), np.sin(angles)], 1)

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw independent mini-batches for support and query; ``info`` has the ``means``."""
        support, query = split_seed(seed, 2)
        means = tf.tile(tf.constant(self.means[None], tf.float32), [tasks, 1, 1])
        return Task(self._drawn(support, tasks), self._drawn(query, tasks), info={"means": means})

    def _drawn(self, seed: Seed, tasks: int) -> Structure:
        which, spread, noise = split_seed(seed, 3)
        shape = [tasks, self.examples]
        index = tf.cast(self.gaussians * uniform(shape, which), tf.int32)
        means = tf.gather(tf.constant(self.means, tf.float32), index)
        return {
            "real": means + normal([*shape, 2], spread, deviation=self.deviation),
            "noise": normal([*shape, self.noise_size], noise),
        }

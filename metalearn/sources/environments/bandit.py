"""A bandit with the real numbers as arms."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_range
from metalearn.random import Range, sample_uniform
from metalearn.sources.environments.protocol import Spec
from metalearn.types import Seed, Structure


@dataclasses.dataclass(frozen=True)
class Bandit:
    """A bandit in which an action a has the reward ``-(a - g)^2``; tasks differ in g. Observations are 0.

    A Gaussian policy has ``E reward = -(mean - g)^2 - deviation^2``, so all gradients have closed forms.

    Attributes:
        goal: the range of g.

    Raises:
        ValueError: if ``goal`` is not a range.
    """

    goal: Range = (-1.0, 1.0)

    def __post_init__(self) -> None:
        require_range("goal", self.goal)

    @property
    def spec(self) -> Spec:
        """The sizes: one number for an observation and for an action."""
        return Spec(observation=1, actions=1, differentiable=True)

    def draw(self, seed: Seed, tasks: int) -> Structure:
        """Draw goals, ``[T]``."""
        return {"goal": sample_uniform([tasks], seed, self.goal)}

    def reset(self, task: Structure, noise: tf.Tensor) -> tuple[Structure, tf.Tensor]:
        """Return a state and observations of zeros."""
        zeros = tf.zeros([noise.shape[0], 1], noise.dtype)
        return zeros, zeros

    def step(
        self, task: Structure, state: Structure, action: tf.Tensor, noise: tf.Tensor
    ) -> tuple[Structure, tf.Tensor, tf.Tensor]:
        """Return the unchanged state, observations and the rewards."""
        return state, state, -tf.square(action[:, 0] - task["goal"])

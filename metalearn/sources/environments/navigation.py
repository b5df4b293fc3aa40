"""Navigation of a point in the plane to an unknown goal."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_range
from metalearn.random import Range, sample_uniform
from metalearn.sources.environments.protocol import Spec
from metalearn.types import Seed, Structure

LARGEST = 0.1
"""The largest step in each coordinate, which is the step of the action 1."""


@dataclasses.dataclass(frozen=True)
class Navigation:
    """Navigation from the origin; tasks differ in the goal g, which is not observed.

    ::

        x_{t+1} = x_t + clip(0.1 a_t, -0.1, 0.1)
        r_t     = -|x_{t+1} - g|

    Attributes:
        goal: the range of both coordinates of g.

    Raises:
        ValueError: if ``goal`` is not a range.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", section 5.3, where actions are
    not in units of 0.1 and an episode ends near the goal.
    """

    goal: Range = (-0.5, 0.5)

    def __post_init__(self) -> None:
        require_range("goal", self.goal)

    @property
    def spec(self) -> Spec:
        """The sizes: the position is observed; the action is a velocity."""
        return Spec(observation=2, actions=2, differentiable=True)

    def draw(self, seed: Seed, tasks: int) -> Structure:
        """Draw goals, ``[T, 2]``."""
        return {"goal": sample_uniform([tasks, 2], seed, self.goal)}

    def reset(self, task: Structure, noise: tf.Tensor) -> tuple[Structure, tf.Tensor]:
        """Return the origin."""
        origin = tf.zeros([noise.shape[0], 2], noise.dtype)
        return origin, origin

    def step(
        self, task: Structure, state: Structure, action: tf.Tensor, noise: tf.Tensor
    ) -> tuple[Structure, tf.Tensor, tf.Tensor]:
        """Return the new positions, and the negative distances to the goal as rewards."""
        position = state + tf.clip_by_value(LARGEST * action, -LARGEST, LARGEST)
        square = tf.reduce_sum(tf.square(position - task["goal"]), 1)
        # The square root has no finite derivative at 0.
        return position, position, -tf.sqrt(square + 1e-12)

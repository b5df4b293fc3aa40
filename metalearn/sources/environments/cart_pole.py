"""A cart with a pole, as a differentiable function of the force."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_range
from metalearn.random import Range, sample_uniform, split_seed
from metalearn.sources.environments.protocol import Spec
from metalearn.types import Seed, Structure

GRAVITY, CART, POLE, SECONDS = 9.8, 1.0, 0.1, 0.02
"""Gravitational acceleration, masses, and the duration of a step."""


@dataclasses.dataclass(frozen=True)
class CartPole:
    """A cart-pole near a goal position; tasks differ in half of the pole's length and in the position.

    ::

        f     = 10 clip(a, -1, 1)
        tmp   = (f + m l w^2 sin q) / (M + m)
        w'    = (g sin q - cos q tmp) / (l (4/3 - m cos^2 q / (M + m)))
        v'    = tmp - m l w' cos q / (M + m)
        r     = cos q - (x - g)^2

    with Euler steps of 0.02 s from states in [-0.05, 0.05). The state (x, v, q, w) is observed, the task is
    not.

    Attributes:
        length: the range of l.
        goal: the range of the position g.

    Raises:
        ValueError: if ``length`` or ``goal`` is not a range.

    Reference: Barto, Sutton and Anderson (1983), "Neuronlike Adaptive Elements That Can Solve Difficult
    Learning Control Problems", where the force is one of two, and a fallen pole ends the trajectory.
    """

    length: Range = (0.3, 0.7)
    goal: Range = (-0.5, 0.5)

    def __post_init__(self) -> None:
        for name in ("length", "goal"):
            require_range(name, getattr(self, name))

    @property
    def spec(self) -> Spec:
        """The sizes: position, velocity, angle and angular velocity are observed; the action is a force."""
        return Spec(observation=4, actions=1, reset_noise=4, differentiable=True)

    def draw(self, seed: Seed, tasks: int) -> Structure:
        """Draw lengths and positions, ``[T]`` each."""
        first, second = split_seed(seed, 2)
        return {
            "length": sample_uniform([tasks], first, self.length),
            "goal": sample_uniform([tasks], second, self.goal),
        }

    def reset(self, task: Structure, noise: tf.Tensor) -> tuple[Structure, tf.Tensor]:
        """Return states near the upright position."""
        state = 0.1 * (noise - 0.5)
        return state, state

    def step(
        self, task: Structure, state: Structure, action: tf.Tensor, noise: tf.Tensor
    ) -> tuple[Structure, tf.Tensor, tf.Tensor]:
        """Take one Euler step."""
        _, velocity, angle, spin = tf.unstack(state, axis=1)
        sine, cosine, moment = tf.sin(angle), tf.cos(angle), POLE * task["length"]
        force = 10 * tf.clip_by_value(action[:, 0], -1.0, 1.0)
        pushed = (force + moment * tf.square(spin) * sine) / (CART + POLE)
        inertia = task["length"] * (4 / 3 - POLE * tf.square(cosine) / (CART + POLE))
        turned = (GRAVITY * sine - cosine * pushed) / inertia
        moved = pushed - moment * turned * cosine / (CART + POLE)
        after = state + SECONDS * tf.stack([velocity, moved, spin, turned], 1)
        return after, after, tf.cos(after[:, 2]) - tf.square(after[:, 0] - task["goal"])

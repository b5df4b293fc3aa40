"""The protocol of environments: pure functions of one task for all of its trajectories."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import tensorflow as tf

from metalearn.types import Seed, Structure


class Spec(NamedTuple):
    """The sizes of observations, actions and noise of an environment.

    Attributes:
        observation: the size of an observation.
        actions: the size of an action; for discrete actions, their number.
        discrete: whether actions are discrete.
        reset_noise: the number of uniform numbers in [0, 1) that ``reset`` needs for a trajectory.
        step_noise: the number of uniform numbers in [0, 1) that ``step`` needs for a trajectory.
        differentiable: whether rewards have derivatives with respect to actions, also through states.
        horizon: the largest number of steps of a trajectory; None for no limit.
    """

    observation: int
    actions: int
    discrete: bool = False
    reset_noise: int = 0
    step_noise: int = 0
    differentiable: bool = False
    horizon: int | None = None


@runtime_checkable
class Environment(Protocol):
    """A family of Markov decision processes, one for each task.

    The functions are for one task and its N trajectories, and run in the graph. All randomness is passed as
    noise, so the same task and noise give the same trajectory. A state is any nest with leaves ``[N, ...]``
    whose shapes and types do not change in a step.
    """

    @property
    def spec(self) -> Spec:
        """The sizes."""
        ...

    def draw(self, seed: Seed, tasks: int) -> Structure:
        """Return the parameters of tasks, leaves ``[T, ...]``, a pure function of the seed."""
        ...

    def reset(self, task: Structure, noise: tf.Tensor) -> tuple[Structure, tf.Tensor]:
        """Return the first states and observations ``[N, O]``.

        Args:
            task: the parameters of one task, leaves without ``T``.
            noise: ``[N, reset_noise]``.
        """
        ...

    def step(
        self, task: Structure, state: Structure, action: tf.Tensor, noise: tf.Tensor
    ) -> tuple[Structure, tf.Tensor, tf.Tensor]:
        """Return the next states, their observations ``[N, O]`` and the rewards ``[N]``.

        Args:
            task: the parameters of one task.
            state: the state from ``reset`` or the previous step.
            action: ``[N, A]``; integers ``[N]`` if discrete.
            noise: ``[N, step_noise]``.
        """
        ...

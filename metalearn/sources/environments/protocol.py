"""What an environment is: pure functions of one task, over all of its trajectories at once."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import tensorflow as tf

from metalearn.types import Seed, Structure


class Spec(NamedTuple):
    """The sizes of what goes into an environment and comes out of it.

    Attributes:
        observation: numbers of an observation.
        actions: numbers of an action; of a discrete one, how many there are to choose from.
        discrete: whether an action is one of a list.
        reset_noise: uniform numbers in [0, 1) that ``reset`` takes for a trajectory.
        step_noise: likewise ``step``.
        differentiable: whether rewards have derivatives with respect to actions, also through states.
        horizon: the most steps of a trajectory; None for any number.
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
    """A family of Markov decision processes, one a task.

    The functions are of one task and of its N trajectories, and run in the graph. All that is random comes in
    as noise, so that the same task and the same noise give the same trajectory. States are what the
    environment likes: any nest with leaves ``[N, ...]``, of the same shapes and types after every step.
    """

    @property
    def spec(self) -> Spec:
        """The sizes."""
        ...

    def draw(self, seed: Seed, tasks: int) -> Structure:
        """Return what tells tasks apart, leaves ``[T, ...]``: a pure function of the seed."""
        ...

    def reset(self, task: Structure, noise: tf.Tensor) -> tuple[Structure, tf.Tensor]:
        """Return the first states and observations ``[N, O]``.

        Args:
            task: of one task, leaves without ``T``.
            noise: ``[N, reset_noise]``.
        """
        ...

    def step(
        self, task: Structure, state: Structure, action: tf.Tensor, noise: tf.Tensor
    ) -> tuple[Structure, tf.Tensor, tf.Tensor]:
        """Return the next states, their observations ``[N, O]`` and the rewards ``[N]``.

        Args:
            task: of one task.
            state: as ``reset`` or the step before returned it.
            action: ``[N, A]``; integers ``[N]`` if discrete.
            noise: ``[N, step_noise]``.
        """
        ...

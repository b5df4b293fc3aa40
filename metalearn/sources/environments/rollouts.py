"""Tasks of an environment with the noise of their trajectories."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.random import fold_in, normal, split_seed, uniform
from metalearn.sources.environments.protocol import Environment, Spec
from metalearn.types import Seed, Structure, Task

POPULATION_STREAM = 0x706F7075
"""Folded into the seed of a training, for the tasks of a population."""

TRIED = 2
"""The number of trajectories in the check of an environment."""


class Noise(NamedTuple):
    """The random numbers of N trajectories of H steps.

    Attributes:
        reset: the uniform noise of the environment's initial states, ``[..., N, R]``.
        step: the uniform noise of the environment's steps, ``[..., N, H, S]``.
        action: the noise of the policy: uniform ``[..., N, H, 1]`` for discrete actions, else standard normal
            ``[..., N, H, A]``.
    """

    reset: tf.Tensor
    step: tf.Tensor
    action: tf.Tensor


class Episodes(NamedTuple):
    """The task's parameters and the noise, which determine the trajectories of a policy."""

    task: Structure
    noise: Noise


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """Tasks of an environment with noise for rollouts: :class:`Episodes` as support and as query.

    The support has independent noise for ``batches`` rollouts, ``[T, B, N, ...]``: the policy after k inner
    steps uses number ``k mod B``. The noise of the query, ``[T, N, ...]``, is independent of these.

    Attributes:
        environment: see :class:`metalearn.tasks.environments.Environment`.
        trajectories: N, the number of trajectories of a rollout, at least 1.
        horizon: H, the number of steps of a trajectory, at least 1.
        batches: B, at least 1: the number of inner steps.
        population: n, the number of different tasks of a training, which are used in cyclic order, or None if
            all tasks differ. If an inner loop is carried from iteration to iteration, n has to be the
            meta-batch size, so that each inner loop keeps its task. Noise is always drawn anew, and
            evaluations have other tasks.

    Raises:
        ValueError: if a number is out of range; or if a trial of the environment with one task has other
            shapes than its spec, or non-finite rewards.

    Example:
        ::

            tasks = ml.tasks.Rollouts(ml.tasks.environments.Navigation(), trajectories=20, horizon=20)
    """

    environment: Environment
    trajectories: int = 20
    horizon: int = 20
    batches: int = 1
    population: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.environment, Environment):
            raise ValueError(
                "environment must have spec, draw, reset and step like an Environment, "
                f"got {self.environment!r}"
            )
        for name in ("trajectories", "horizon", "batches"):
            require_count(name, getattr(self, name))
        if self.population is not None:
            require_count("population (or None)", self.population)
        most = self.environment.spec.horizon
        if most is not None and self.horizon > most:
            raise ValueError(
                f"horizon={self.horizon} is more than the {most} steps that "
                f"{type(self.environment).__name__} allows: increase its horizon, or use a smaller one"
            )
        with tf.init_scope():
            _try(self.environment)

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw tasks and noise, a pure function of the seed.

        Raises:
            ValueError: if ``tasks`` is not a positive integer.
        """
        require_count("tasks", tasks)
        first, second, third = split_seed(seed, 3)
        drawn = self.environment.draw(first, tasks)
        if self.population is not None:
            run, iteration = tf.unstack(tf.cast(seed, tf.int32))
            kept = self.environment.draw(fold_in(tf.stack([run, 0]), POPULATION_STREAM), self.population)
            turn = (iteration * tasks + tf.range(tasks)) % self.population
            drawn = tf.nest.map_structure(
                lambda known, fresh: tf.where(iteration < 0, fresh, tf.gather(known, turn)),
                kept,
                drawn,
            )
        spec, count = self.environment.spec, self.trajectories
        return Task(
            Episodes(drawn, _noise(spec, [tasks, self.batches, count], self.horizon, second)),
            Episodes(
                tf.nest.map_structure(tf.identity, drawn), _noise(spec, [tasks, count], self.horizon, third)
            ),
        )


def _noise(spec: Spec, shape: list[int], horizon: int, seed: Seed) -> Noise:
    first, second, third = split_seed(seed, 3)
    in_time = [*shape, horizon]
    return Noise(
        uniform([*shape, spec.reset_noise], first),
        uniform([*in_time, spec.step_noise], second),
        uniform([*in_time, 1], third) if spec.discrete else normal([*in_time, spec.actions], third),
    )


def _try(environment: Environment) -> None:
    """Raise ValueError unless one step has the shapes of the environment's spec, and finite rewards."""
    spec, name = environment.spec, type(environment).__name__
    task = tf.nest.map_structure(lambda leaf: leaf[0], environment.draw((0, 0), 1))
    noise = _noise(spec, [TRIED], 1, (0, 0))
    state, first = environment.reset(task, noise.reset)
    action = tf.zeros([TRIED], tf.int32) if spec.discrete else noise.action[:, 0]
    after, second, reward = environment.step(task, state, action, noise.step[:, 0])
    for what, found, expected in (
        ("reset returns observations", first, [TRIED, spec.observation]),
        ("step returns observations", second, [TRIED, spec.observation]),
        ("step returns rewards", reward, [TRIED]),
    ):
        if found.shape != expected:
            raise ValueError(
                f"{name}: {what} of shape {found.shape} for {TRIED} trajectories, but its spec has {expected}"
            )
    before, later = (
        tf.nest.map_structure(lambda leaf: (leaf.shape, leaf.dtype), each) for each in (state, after)
    )
    if before != later:
        raise ValueError(f"{name}: step must return states like its arguments, {before}, but returns {later}")
    if not np.isfinite(reward.numpy()).all():
        raise ValueError(
            f"{name}: rewards must be finite numbers, but those of the first steps are {reward.numpy()}"
        )

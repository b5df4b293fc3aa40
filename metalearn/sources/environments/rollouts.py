"""Tasks of an environment, with the noise that trajectories are made of."""

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
"""Folded into the seed of a training, for tasks that come again."""

TRIED = 2
"""Trajectories that an environment is tried with."""


class Noise(NamedTuple):
    """What is random in N trajectories of H steps.

    Attributes:
        reset: of the environment at first, uniform, ``[..., N, R]``.
        step: of the environment in a step, uniform, ``[..., N, H, S]``.
        action: of the policy: uniform ``[..., N, H, 1]`` if actions are discrete, else standard normal
            ``[..., N, H, A]``.
    """

    reset: tf.Tensor
    step: tf.Tensor
    action: tf.Tensor


class Episodes(NamedTuple):
    """What makes trajectories of a policy: what the environment has drawn for the task, and noise."""

    task: Structure
    noise: Noise


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """Tasks of an environment with noise for rollouts: :class:`Episodes` as support and as query.

    The noise of the support is that of ``batches`` rollouts, ``[T, B, N, ...]``: the policy after k inner
    steps has one of its own, number ``k mod B``. That of the query, ``[T, N, ...]``, is another one.

    Attributes:
        environment: see :class:`metalearn.tasks.environments.Environment`.
        trajectories: N of a rollout, at least 1.
        horizon: H, steps of a trajectory, at least 1.
        batches: B, at least 1: as many as the inner loop has steps.
        population: n, number of different tasks of a training, which come in turn, or None: all differ. Where
            an inner loop is carried from iteration to iteration, n has to be the meta-batch size, so that it
            goes on with its task. Noise is drawn anew, and evaluations have tasks of their own.

    Raises:
        ValueError: if a number is out of range; or if the environment, tried with one task, gives other
            shapes than it says, or rewards that are not finite.

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
                "environment must have spec, draw, reset and step, as an Environment has, "
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
                f"{type(self.environment).__name__} allows: give it a larger horizon, or take a smaller one"
            )
        with tf.init_scope():
            _try(self.environment)

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw tasks and noise, a pure function of the seed."""
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
    """Raise ValueError unless one step has the shapes that the environment says, and finite rewards."""
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
                f"{name}: {what} of shape {found.shape} for {TRIED} trajectories, its spec says {expected}"
            )
    before, later = (
        tf.nest.map_structure(lambda leaf: (leaf.shape, leaf.dtype), each) for each in (state, after)
    )
    if before != later:
        raise ValueError(f"{name}: step must return states as it takes them, {before}, but returns {later}")
    if not np.isfinite(reward.numpy()).all():
        raise ValueError(
            f"{name}: rewards must be finite numbers, but those of two first steps are {reward.numpy()}"
        )

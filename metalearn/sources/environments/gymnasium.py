"""Environments with Gymnasium's interface, which run in Python outside of the graph."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count, require_range
from metalearn.random import Range, sample_uniform, split_seed
from metalearn.sources.environments.protocol import Spec
from metalearn.types import Seed, Structure

KEPT = 1024
"""The number of cached environments, which take the next step without repeating the earlier ones."""

SEEDS = 2**24
"""The number of seeds of environments: as many as a uniform float32 can distinguish."""


class _Followed:
    """The environment of a trajectory, with the actions so far."""

    def __init__(self, environment: Any, seed: int) -> None:
        self._environment, self._over = environment, False
        self.actions: list[np.ndarray] = []
        self.observation, self.reward = environment.reset(seed=seed)[0], 0.0

    def take(self, action: np.ndarray) -> None:
        """Take a step; after the end of an episode nothing changes, and the reward is 0."""
        self.actions.append(action)
        self.reward = 0.0
        if not self._over:
            space = self._environment.action_space
            given = int(action) if _is_discrete(space) else np.clip(action, space.low, space.high)
            self.observation, self.reward, terminated, truncated, _ = self._environment.step(given)
            self._over = terminated or truncated


@dataclasses.dataclass(frozen=True)
class Gymnasium:
    """Environments with Gymnasium's interface: their steps run in Python and have no derivatives.

    An environment is any object with ``reset(seed=...) -> (observation, info)``, ``step(action) ->
    (observation, reward, terminated, truncated, info)``, ``observation_space`` and ``action_space``, each
    with a number ``n`` or a ``shape``. After ``reset`` with a seed it has to be a deterministic function of
    its actions. Observations from ``n`` values are one-hot vectors; continuous actions are clipped to ``low``
    and ``high`` of their space. After the end of an episode rewards are 0.

    It supports evaluation and surrogates that need no derivatives of the environment. Programs run without
    XLA, one task after the other.

    Attributes:
        make: ``(**task) -> environment``, called for every trajectory.
        horizon: the largest number of steps of a trajectory, at least 1.
        ranges: the ranges of the numbers in which tasks differ, by the argument names of ``make``.

    Raises:
        ValueError: if a number is out of range, or a space has neither ``n`` nor ``shape``.

    Example:
        ::

            def pole(length):
                environment = gymnasium.make("CartPole-v1")
                environment.unwrapped.length = length
                return environment

            poles = ml.tasks.environments.Gymnasium(pole, horizon=100, ranges={"length": (0.3, 0.7)})
    """

    make: Callable[..., Any]
    horizon: int
    ranges: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    spec: Spec = dataclasses.field(init=False, repr=False, compare=False)
    _kept: OrderedDict[Any, _Followed] = dataclasses.field(
        default_factory=OrderedDict, init=False, repr=False, compare=False
    )
    _lock: Any = dataclasses.field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_count("horizon", self.horizon)
        for name, given in self.ranges.items():
            require_range(f"ranges[{name!r}]", given)
        middle = {name: (low + high) / 2 for name, (low, high) in self.ranges.items()}
        found = self.make(**middle)
        observation = _size("observation_space", getattr(found, "observation_space", None))
        actions = _size("action_space", getattr(found, "action_space", None))
        discrete = _is_discrete(found.action_space)
        spec = Spec(observation, actions, discrete, reset_noise=1, horizon=self.horizon)
        object.__setattr__(self, "spec", spec)

    def draw(self, seed: Seed, tasks: int) -> Structure:
        """Draw a number for each range, ``[T]``."""
        seeds = split_seed(seed, len(self.ranges) + 1)
        drawn = {
            name: sample_uniform([tasks], each, given)
            for each, (name, given) in zip(seeds, self.ranges.items(), strict=False)
        }
        return drawn or {"any": tf.zeros([tasks])}  # one leaf, so that the number of tasks is known

    def reset(self, task: Structure, noise: tf.Tensor) -> tuple[Structure, tf.Tensor]:
        """Return the state, which has no actions yet, and the first observations."""
        count = noise.shape[0]
        shape = [count, self.horizon] if self.spec.discrete else [count, self.horizon, self.spec.actions]
        state = {
            "seed": tf.cast(noise[:, 0] * SEEDS, tf.int32),
            "taken": tf.zeros([count], tf.int32),
            "actions": tf.zeros(shape, tf.int32 if self.spec.discrete else noise.dtype),
        }
        return state, self._seen(task, state, noise.dtype)[0]

    def step(
        self, task: Structure, state: Structure, action: tf.Tensor, noise: tf.Tensor
    ) -> tuple[Structure, tf.Tensor, tf.Tensor]:
        """Take one step in each trajectory."""
        here = tf.range(self.horizon) == state["taken"][:, None]
        here = here if self.spec.discrete else here[:, :, None]
        actions = tf.where(here, action[:, None], state["actions"])
        after = {"seed": state["seed"], "taken": state["taken"] + 1, "actions": actions}
        return after, *self._seen(task, after, noise.dtype)

    def _seen(self, task: Structure, state: Structure, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """Return observations and rewards after the actions of a state."""
        values = [task[name] for name in self.ranges]

        def follow(seeds: Any, taken: Any, actions: Any, *values: Any) -> tuple[np.ndarray, np.ndarray]:
            with self._lock:
                found = [
                    self._at(tuple(map(float, values)), int(seed), actions[row, : taken[row]])
                    for row, seed in enumerate(seeds)
                ]
            kind = dtype.as_numpy_dtype
            return np.stack([each for each, _ in found]).astype(kind), np.array(
                [each for _, each in found], kind
            )

        count = state["seed"].shape[0]
        seen, reward = tf.numpy_function(
            follow, [state["seed"], state["taken"], state["actions"], *values], [dtype, dtype], stateful=False
        )
        return tf.ensure_shape(seen, [count, self.spec.observation]), tf.ensure_shape(reward, [count])

    def _at(self, values: tuple[float, ...], seed: int, actions: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the observation and the reward after some actions, a pure function of the arguments."""
        followed = self._kept.pop((values, seed), None)
        if followed is None or not np.array_equal(followed.actions, actions[: len(followed.actions)]):
            followed = _Followed(self.make(**dict(zip(self.ranges, values, strict=True))), seed)
        for action in actions[len(followed.actions) :]:
            followed.take(action)
        self._kept[values, seed] = followed
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        size, observation = self.spec.observation, followed.observation
        seen = np.eye(size)[observation] if np.ndim(observation) == 0 and size > 1 else np.ravel(observation)
        return seen, float(followed.reward)


def _is_discrete(space: Any) -> bool:
    return hasattr(space, "n")


def _size(name: str, space: Any) -> int:
    """Return the size of a space: its ``n``, or the number of entries of its shape."""
    if _is_discrete(space):
        return int(space.n)
    if getattr(space, "shape", None) is None:
        raise ValueError(f"{name} must have a number n or a shape, like Discrete and Box, got {space!r}")
    return int(np.prod(space.shape))

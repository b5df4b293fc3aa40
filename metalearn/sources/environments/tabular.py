"""Markov decision processes with few states and tables of transitions and rewards."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.random import normal, split_seed, uniform
from metalearn.sources.environments.protocol import Spec
from metalearn.types import Seed, Structure


@dataclasses.dataclass(frozen=True)
class Tabular:
    """Random Markov decision processes: ``P(. | s, a)`` is flat-Dirichlet, ``r(s, a)`` is ``N(1, 1)``.

    Trajectories start in state 0; states are observed as one-hot vectors.

    Attributes:
        states: S, the number of states, at least 1.
        choices: A, the number of actions, at least 2.

    Raises:
        ValueError: if a number is out of range.

    Reference: Duan et al. (2016), "RL^2: Fast Reinforcement Learning via Slow Reinforcement Learning",
    section 3.1.2, where rewards are noisy.
    """

    states: int = 10
    choices: int = 5

    def __post_init__(self) -> None:
        require_count("states", self.states)
        require_count("choices", self.choices, minimum=2)

    @property
    def spec(self) -> Spec:
        """The sizes: a one-hot state, a discrete action, and one random number for the transition."""
        return Spec(self.states, self.choices, discrete=True, step_noise=1)

    def draw(self, seed: Seed, tasks: int) -> Structure:
        """Draw ``transitions`` ``[T, S, A, S]`` and ``rewards`` ``[T, S, A]``."""
        first, second = split_seed(seed, 2)
        shape = [tasks, self.states, self.choices]
        weights = -tf.math.log1p(-uniform([*shape, self.states], first))
        total = tf.reduce_sum(weights, -1, keepdims=True)
        return {"transitions": weights / total, "rewards": normal(shape, second, mean=1.0)}

    def reset(self, task: Structure, noise: tf.Tensor) -> tuple[Structure, tf.Tensor]:
        """Return state 0."""
        first = tf.one_hot(tf.zeros([noise.shape[0]], tf.int32), self.states, dtype=noise.dtype)
        return first, first

    def step(
        self, task: Structure, state: Structure, action: tf.Tensor, noise: tf.Tensor
    ) -> tuple[Structure, tf.Tensor, tf.Tensor]:
        """Return the reward, and the next state from the inverse of its cumulative distribution function."""
        # One-hot products instead of look-ups, as they have a vectorised form in every version of TensorFlow.
        chosen = tf.one_hot(action, self.choices, dtype=state.dtype)
        reward = tf.einsum("ns,na,sa->n", state, chosen, task["rewards"])
        chances = tf.einsum("ns,na,sak->nk", state, chosen, task["transitions"])
        index = tf.reduce_sum(tf.cast(noise >= tf.cumsum(chances, 1)[:, :-1], tf.int32), 1)
        following = tf.one_hot(index, self.states, dtype=state.dtype)
        return following, following, reward

"""Trajectories of a policy in an environment, and the probabilities of its actions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, Protocol

import keras
import tensorflow as tf

from metalearn.execution.loops import fold
from metalearn.nest import as_type
from metalearn.sources.environments import Environment, Episodes, Spec
from metalearn.types import Parameters, Structure, Task

Network = Callable[[tf.Tensor], tf.Tensor]
"""Observations ``[N, O]`` to the parameters ``[N, A]`` of a distribution of actions."""


class Trajectories(NamedTuple):
    """N trajectories of H steps.

    Attributes:
        observations: before each step, ``[N, H, O]``.
        actions: ``[N, H, A]``, integers ``[N, H]`` if discrete.
        rewards: ``[N, H]``.
    """

    observations: tf.Tensor
    actions: tf.Tensor
    rewards: tf.Tensor


class Distribution(Protocol):
    """A distribution of actions, given the outputs of a network."""

    def sample(self, outputs: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Return actions ``[N, ...]`` for outputs ``[N, A]`` and noise ``[N, ...]``."""
        ...

    def log_probability(self, outputs: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Return log-probabilities ``[M]`` of actions ``[M, ...]`` given ``[M, A]``, up to a constant."""
        ...

    def divergence(self, outputs: tf.Tensor) -> tf.Tensor:
        """Return the mean KL divergence between stop_gradient(outputs) and outputs ``[M, A]``.

        Its value and gradient are 0; its Hessian is the Fisher information.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """``N(outputs, deviation^2)``, independent in each component; the noise is standard normal."""

    deviation: float

    def sample(self, outputs: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Return ``outputs + deviation noise``."""
        return outputs + self.deviation * noise

    def log_probability(self, outputs: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Return ``-|actions - outputs|^2 / (2 deviation^2)``."""
        return tf.reduce_sum(tf.square(actions - outputs), -1) / (-2 * self.deviation**2)

    def divergence(self, outputs: tf.Tensor) -> tf.Tensor:
        """Return the mean of ``|stop(outputs) - outputs|^2 / (2 deviation^2)``."""
        return -tf.reduce_mean(self.log_probability(outputs, tf.stop_gradient(outputs)))


@dataclasses.dataclass(frozen=True)
class Categorical:
    """``softmax(outputs)``; the noise is uniform."""

    def sample(self, outputs: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Return the inverse of the cumulative distribution function at the noise, integers ``[N]``."""
        below = tf.cumsum(tf.nn.softmax(outputs), 1)[:, :-1]
        return tf.reduce_sum(tf.cast(noise >= below, tf.int32), 1)

    def log_probability(self, outputs: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Return the logarithm of the softmax at the actions."""
        chosen = tf.one_hot(actions, outputs.shape[-1], dtype=outputs.dtype)
        # Not tf.nn.log_softmax, which has no vectorised form without a fallback.
        return tf.reduce_sum(chosen * outputs, -1) - tf.reduce_logsumexp(outputs, -1)

    def divergence(self, outputs: tf.Tensor) -> tf.Tensor:
        """Return the mean of ``sum_a stop(p) (stop(log p) - log p)``."""
        logarithms = outputs - tf.reduce_logsumexp(outputs, -1, keepdims=True)
        kept = tf.stop_gradient(logarithms)
        return tf.reduce_mean(tf.reduce_sum(tf.exp(kept) * (kept - logarithms), -1))


def distribution_of(spec: Spec, deviation: float) -> Distribution:
    """Return the distribution of an environment's actions; ``deviation`` applies to continuous ones."""
    return Categorical() if spec.discrete else Gaussian(deviation)


def rollout(
    environment: Environment,
    network: Network,
    distribution: Distribution,
    episodes: Episodes,
    *,
    differentiated: bool,
) -> Trajectories:
    """Return the trajectories of a policy in one task.

    Args:
        environment: the environment.
        network: the policy's network.
        distribution: the distribution of actions given the network's outputs.
        episodes: those of one task, noise ``[N, H, ...]``.
        differentiated: whether derivatives pass through actions and states; the loop is then unrolled,
            because forward mode does not support loops in the graph.
    """
    noise, horizon = episodes.noise, episodes.noise.action.shape[-2]
    state, observation = environment.reset(episodes.task, noise.reset)
    count = observation.shape[0]
    actions = [] if environment.spec.discrete else [environment.spec.actions]
    kept = Trajectories(
        tf.zeros([count, horizon, observation.shape[1]], observation.dtype),
        tf.zeros([count, horizon, *actions], tf.int32 if environment.spec.discrete else observation.dtype),
        tf.zeros([count, horizon], observation.dtype),
    )

    def advance(carry: Structure, step: int | tf.Tensor) -> Structure:
        state, observation, kept = carry
        action = distribution.sample(network(observation), tf.gather(noise.action, step, axis=1))
        after, seen, reward = environment.step(
            episodes.task, state, action, tf.gather(noise.step, step, axis=1)
        )
        kept = tf.nest.map_structure(
            lambda array, value: _put(array, value, step), kept, Trajectories(observation, action, reward)
        )
        return after, seen, kept

    carry = state, observation, kept
    return fold(advance, carry, horizon, in_graph=not differentiated)[2]


def require_sizes(environment: Environment, model: keras.Model, values: int = 0) -> None:
    """Raise ValueError unless a model maps observations to actions and ``values`` further outputs."""
    spec, name = environment.spec, type(environment).__name__
    sizes = model.input_shape[-1], model.output_shape[-1]
    if sizes != (spec.observation, spec.actions + values):
        beside = f" and {values} for a value" if values else ""
        raise ValueError(
            f"the model has {sizes[0]} inputs and {sizes[1]} outputs, but {name} needs {spec.observation} "
            f"for an observation and {spec.actions} for an action{beside}: change the model's sizes"
        )


class Followed(NamedTuple):
    """Trajectories of a policy, and the log-probabilities of their actions.

    Attributes:
        trajectories: the trajectories, as constants.
        log_probabilities: those of their actions, ``[N, H]``, a function of the parameters.
        rest: the further outputs of the network, ``[N, H, R]``, a function of the parameters.
    """

    trajectories: Trajectories
    log_probabilities: tf.Tensor
    rest: tf.Tensor


def followed(
    environment: Environment,
    network: Callable[[Parameters, tf.Tensor], tf.Tensor],
    theta: Parameters,
    distribution: Distribution,
    episodes: Episodes,
) -> Followed:
    """Return rollouts of the policy ``theta`` in one task as constants, and differentiable log-probabilities.

    Args:
        environment: the environment.
        network: ``(theta, observations) -> outputs``; the first outputs are those of the actions.
        theta: the parameters of the network; the episodes are cast to their type.
        distribution: the distribution of actions.
        episodes: those of one task.
    """
    acting = tf.nest.map_structure(tf.stop_gradient, theta)
    size = environment.spec.actions
    found = rollout(
        environment,
        lambda observations: network(acting, observations)[:, :size],
        distribution,
        cast(episodes, tf.nest.flatten(theta)[0].dtype),
        differentiated=False,
    )
    found = Trajectories(*(tf.stop_gradient(each) for each in found))
    count, horizon = found.rewards.shape
    # One call for all steps: only this call is differentiated, not the loop.
    outputs = network(theta, tf.reshape(found.observations, [count * horizon, -1]))
    flat = tf.reshape(found.actions, [count * horizon, *found.actions.shape[2:]])
    log_probabilities = tf.reshape(distribution.log_probability(outputs[:, :size], flat), [count, horizon])
    return Followed(found, log_probabilities, tf.reshape(outputs[:, size:], [count, horizon, -1]))


def batch_of(task: Task, step: int | tf.Tensor) -> Episodes:
    """Return the episodes of inner step ``step``, modulo the number of batches of noise."""
    noise = task.support.noise
    index = step % noise.action.shape[0]
    # Not leaf[index], which has no vectorised form if step numbers differ between tasks.
    picked = tf.nest.map_structure(lambda leaf: tf.gather(leaf, index), noise)
    return task.support._replace(noise=picked)


def cast(episodes: Episodes, dtype: tf.DType) -> Episodes:
    """Return episodes with floating-point leaves cast to a type."""
    return tf.nest.map_structure(
        lambda leaf: as_type(leaf, dtype) if leaf.dtype.is_floating else leaf, episodes
    )


def _put(array: tf.Tensor, value: tf.Tensor, step: int | tf.Tensor) -> tf.Tensor:
    """Return ``[N, H, ...]`` with the entry at ``step`` replaced by ``value``.

    It uses masks instead of a TensorArray, because they have derivatives of every order and mode, vectorised
    or not.
    """
    horizon = array.shape[1]
    here = tf.reshape(tf.range(horizon) == step, [1, horizon] + [1] * (len(array.shape) - 2))
    return tf.where(here, tf.expand_dims(value, 1), array)

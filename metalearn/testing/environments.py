"""Conformance check of environments."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from metalearn.nest import as_type
from metalearn.sources import Rollouts
from metalearn.sources.environments import Environment, Episodes, Noise
from metalearn.testing.requirements import differing, hold, layout, same_bits
from metalearn.types import Structure

CHECK = "check_environment"


def check_environment(environment: Any, trajectories: int = 4, horizon: int = 5) -> None:
    """Check that an environment fulfils the contract of :class:`metalearn.tasks.environments.Environment`.

    Shapes equal those of the spec; tasks are a pure function of the seed; each trajectory is a pure function
    of its task, actions and noise, in a graph and eagerly; states keep their shapes and types; observations
    and rewards are finite, and in float64 if the noise is; and derivatives of rewards with respect to actions
    equal finite differences, if the environment is differentiable.

    Args:
        environment: the environment.
        trajectories: the number of trajectories, at least 2.
        horizon: the number of steps of each, at least 1.

    Raises:
        AssertionError: naming the violated requirement.
    """
    try:
        source = Rollouts(environment, trajectories, horizon)
    except ValueError as error:
        raise AssertionError(f"{CHECK} requires what Rollouts requires: {error}") from error
    _check_draw(environment)
    episodes = tf.nest.map_structure(lambda leaf: leaf[0], source.sample((0, 0), 1).query)
    actions = _actions(environment, episodes.noise)
    first = _follow(environment, episodes, actions)
    hold(
        CHECK,
        same_bits(first, _follow(environment, episodes, actions)),
        "equal noise gives equal trajectories",
    )
    traced = tf.function(lambda *given: _follow(environment, *given), autograph=False)
    hold(
        CHECK,
        not differing(first, traced(episodes, actions), 1e-4),
        "results in a graph equal those of eager execution",
    )
    turned = episodes._replace(noise=tf.nest.map_structure(lambda leaf: leaf[::-1], episodes.noise))
    back = tf.nest.map_structure(lambda leaf: leaf[::-1], _follow(environment, turned, actions[::-1]))
    hold(CHECK, not differing(first, back, 1e-5), "a trajectory does not depend on the others of its batch")
    for name, found in zip(("observations", "rewards"), first, strict=True):
        hold(CHECK, bool(np.isfinite(found).all()), f"{name} are finite over {horizon} steps")
    double = _double(episodes)
    wide = _follow(
        environment, double, actions if environment.spec.discrete else tf.cast(actions, tf.float64)
    )
    for name, found in zip(("observations", "rewards"), wide, strict=True):
        hold(
            CHECK,
            found.dtype == tf.float64,
            f"{name} are in float64 if the noise is, not in {found.dtype.name}",
        )
    if environment.spec.differentiable:
        _check_derivatives(environment, double, tf.cast(actions, tf.float64))


def _check_draw(environment: Environment) -> None:
    drawn = environment.draw((3, 4), 3)
    counts = {leaf.shape[0] if leaf.shape.rank else None for leaf in tf.nest.flatten(drawn)}
    hold(CHECK, counts == {3}, f"draw returns leaves [T, ...], but for 3 tasks it returns {counts}")
    again = environment.draw(tf.constant((3, 4)), 3)
    hold(CHECK, same_bits(drawn, again), "draw is a pure function of the seed, a tuple or a tensor")


def _actions(environment: Environment, noise: Noise) -> tf.Tensor:
    """Return actions ``[N, H, ...]`` of a policy that ignores observations."""
    spec = environment.spec
    return tf.cast(noise.action[..., 0] * spec.actions, tf.int32) if spec.discrete else noise.action


def _follow(environment: Environment, episodes: Episodes, actions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return observations ``[N, H+1, O]`` and rewards ``[N, H]``."""
    task, noise = episodes
    state, seen = environment.reset(task, noise.reset)
    begun, observations, rewards = layout((state, seen)), [seen], []
    for step in range(actions.shape[1]):
        state, seen, reward = environment.step(task, state, actions[:, step], noise.step[:, step])
        now = layout((state, seen))
        hold(CHECK, now == begun, f"states and observations keep the layout of reset, {begun}, not {now}")
        observations.append(seen)
        rewards.append(reward)
    return tf.stack(observations, 1), tf.stack(rewards, 1)


def _check_derivatives(environment: Environment, episodes: Episodes, actions: tf.Tensor) -> None:
    """Check the derivative of the sum of rewards along a direction, in float64."""

    def total(actions: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(_follow(environment, episodes, actions)[1])

    with tf.GradientTape() as tape:
        tape.watch(actions)
        value = total(actions)
    gradient = tape.gradient(value, actions)
    hold(CHECK, gradient is not None, "rewards depend on actions if the spec has differentiable=True")
    direction = tf.cast(np.random.default_rng(0).standard_normal(actions.shape), tf.float64)
    expected = (total(actions + 1e-6 * direction) - total(actions - 1e-6 * direction)) / 2e-6
    found = tf.reduce_sum(gradient * direction)
    close = np.isclose(found, expected, rtol=1e-4, atol=1e-6)
    hold(CHECK, bool(close), f"derivatives equal differences: {float(found)} is not {float(expected)}")


def _double(structure: Structure) -> Structure:
    return tf.nest.map_structure(
        lambda leaf: as_type(leaf, tf.float64) if leaf.dtype.is_floating else leaf, structure
    )

"""Environments of our own conform; each requirement is violated by an environment that fulfils all others."""

import dataclasses

import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.testing import check_environment

environments = ml.tasks.environments


DRIFT = tf.Variable(0.0, trainable=False)


@dataclasses.dataclass(frozen=True)
class Broken:
    """A point on a line that violates one requirement."""

    fault: str = ""

    @property
    def spec(self):
        return environments.Spec(1, 1, reset_noise=1, differentiable=True)

    def draw(self, seed, tasks):
        if self.fault == "draw":
            return {"goal": tf.random.uniform([tasks])}
        return {"goal": tf.zeros([1 if self.fault == "count" else tasks])}

    def reset(self, task, noise):
        place = noise
        if self.fault == "mixed":
            place += tf.reduce_sum(noise[:1])
        return place, place

    def step(self, task, state, action, noise):
        moved = tf.stop_gradient(action) if self.fault == "derivative" else action
        place = state + moved
        if self.fault == "impure":
            place += DRIFT.assign_add(1.0)
        if self.fault == "state":
            return place, tf.cast(place, tf.float32), place[:, 0]
        reward = tf.cast(place[:, 0] ** 2, tf.float32 if self.fault == "narrow" else place.dtype)
        if self.fault == "infinite":
            reward = tf.where(tf.abs(place[:, 0]) > 0.9, 1 / tf.zeros_like(reward), reward)
        if self.fault == "half":
            reward = tf.stop_gradient(place[:, 0]) * place[:, 0]
        return place, place, reward


@pytest.mark.parametrize(
    "environment",
    [
        environments.Bandit(),
        environments.Tabular(3, 2),
        environments.Navigation(),
        environments.CartPole(),
        Broken(),
    ],
    ids=lambda each: type(each).__name__,
)
def test_ours_conform(environment):
    check_environment(environment)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("draw", "draw is a pure function of the seed"),
        ("count", r"draw returns leaves \[T, ...\], but for 3 tasks it returns {1}"),
        ("impure", "equal noise gives equal trajectories"),
        ("mixed", "a trajectory does not depend on the others"),
        ("infinite", "rewards"),
        ("state", "states and observations keep the layout of reset"),
        ("narrow", "rewards are in float64 if the noise is, not in float32"),
        ("derivative", "rewards depend on actions if the spec has differentiable=True"),
        ("half", "derivatives equal differences"),
    ],
)
def test_each_demand(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_environment(Broken(fault))


def test_what_rollouts_refuses():
    with pytest.raises(AssertionError, match="requires what Rollouts requires: environment must have spec"):
        check_environment(3)

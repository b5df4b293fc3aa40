"""Tasks of environments: their noise, and invalid environments."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.testing import check_source

environments = ml.tasks.environments


def test_shapes_and_distributions():
    source = ml.tasks.Rollouts(environments.CartPole(), trajectories=5, horizon=7, batches=3)
    task = source.sample((0, 0), 100)
    assert task.support.noise.reset.shape == (100, 3, 5, 4)
    assert task.support.noise.step.shape == (100, 3, 5, 7, 0)
    assert task.support.noise.action.shape == (100, 3, 5, 7, 1)
    assert task.query.noise.action.shape == (100, 5, 7, 1)
    np.testing.assert_array_equal(task.support.task["goal"], task.query.task["goal"])
    np.testing.assert_allclose(np.std(task.support.noise.action), 1, atol=0.03)
    discrete = ml.tasks.Rollouts(environments.Tabular(3, 2), 5, 7).sample((0, 0), 100)
    noise = discrete.support.noise.action.numpy()
    assert noise.shape == (100, 1, 5, 7, 1)
    assert noise.min() >= 0
    assert 0.98 < noise.max() < 1
    check_source(source)


def test_tasks_of_a_population_come_in_turn():
    """Tasks of a population are used cyclically, with new noise; other runs and blocks have other tasks."""
    source = ml.tasks.Rollouts(environments.Bandit(), 2, 1, population=2)
    drawn = [source.sample(seed, 4) for seed in ((0, 0), (0, 5), (1, 0), (0, -1), (0, -2))]
    goals = [task.query.task["goal"].numpy() for task in drawn]
    np.testing.assert_array_equal(goals[0], np.tile(goals[0][:2], 2))
    np.testing.assert_array_equal(goals[0], goals[1])
    assert len({*np.concatenate(goals)}) == 2 + 2 + 4 + 4
    first, later = (task.support.noise.action.numpy() for task in drawn[:2])
    assert (first != later).all()
    check_source(source)
    larger = dataclasses.replace(source, population=8)
    goals = [larger.sample((0, iteration), 4).query.task["goal"].numpy() for iteration in range(3)]
    assert len({*np.concatenate(goals[:2])}) == 8
    np.testing.assert_array_equal(goals[2], goals[0])


@dataclasses.dataclass(frozen=True)
class Broken:
    """A bandit that violates one requirement."""

    observation: int = 1
    reward: float = 0.0
    scalar: bool = False

    @property
    def spec(self):
        return environments.Spec(self.observation, 1)

    def draw(self, seed, tasks):
        return {"goal": tf.zeros([tasks])}

    def reset(self, task, noise):
        return tf.zeros([noise.shape[0], 1]), tf.zeros([noise.shape[0], 1])

    def step(self, task, state, action, noise):
        rewards = self.reward * tf.ones([noise.shape[0]])
        return state, state, rewards[0] if self.scalar else rewards


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon must be an integer of at least 1, got 0"),
        ({"trajectories": 0}, "trajectories must be an integer of at least 1, got 0"),
        ({"batches": 0}, "batches must be an integer of at least 1, got 0"),
        ({"population": 0}, r"population \(or None\) must be an integer of at least 1, got 0"),
        ({"environment": "navigation"}, "environment must have spec, draw, reset and step.*got 'navigation'"),
        ({"environment": Broken(observation=2)}, r"Broken: reset returns observations of shape \(2, 1\)"),
        ({"environment": Broken(scalar=True)}, r"Broken: step returns rewards of shape \(\)"),
        ({"environment": Broken(reward=float("nan"))}, r"Broken: rewards must be finite .* are \[nan nan\]"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message) as error:
        ml.tasks.Rollouts(**{"environment": Broken(), **options})
    assert "\n" not in str(error.value)

"""Environments in Python: compared with their own steps, in training, and Gymnasium's if it is installed."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.sources.environments import gymnasium as adapter
from metalearn.testing import check_environment

environments = ml.tasks.environments

TWO = types.SimpleNamespace(n=2)
BOX = types.SimpleNamespace(shape=(2,), low=-1.0, high=1.0)


class Walk:
    """A walk on a line from a place given by the seed, until 4; rewards are negative distances."""

    made = 0

    def __init__(self, goal=1.0, actions=TWO, observations=BOX):
        self.goal, self.action_space, self.observation_space = goal, actions, observations
        Walk.made += 1

    def reset(self, seed):
        self.place = float(seed % 3)
        return np.array([self.place, 0.0]), {}

    def step(self, action):
        self.place += float(np.sum(action))
        return np.array([self.place, 1.0]), -abs(self.place - self.goal), self.place >= 4, False, {}


def walks(**options):
    return environments.Gymnasium(Walk, horizon=6, ranges={"goal": (0.0, 5.0)}, **options)


def test_trajectories_are_those_of_its_steps():
    """Trajectories equal the walk's own, also for repeated states and after the end of an episode."""
    environment, task = walks(), {"goal": tf.constant(2.5)}
    noise = tf.constant([[0.1], [0.7]])
    state, seen = environment.reset(task, noise)
    starts = [int(np.float32(value) * adapter.SEEDS) % 3 for value in (0.1, 0.7)]
    np.testing.assert_array_equal(seen[:, 0], starts)
    places, states = np.array(starts, float), []
    for actions in ([1, 0], [1, 1], [1, 1], [0, 1], [1, 1], [1, 0]):
        alive = places < 4
        places += alive * np.array(actions)
        states.append((state, actions, places.copy(), np.where(alive, -np.abs(places - 2.5), 0.0)))
        state, seen, reward = environment.step(task, state, tf.constant(actions), tf.zeros([2, 0]))
        np.testing.assert_allclose(seen[:, 0], states[-1][2])
        np.testing.assert_allclose(reward, states[-1][3])
    assert (places >= 4).any()
    made = Walk.made
    for before, actions, expected, rewards in reversed(states):
        _, seen, reward = environment.step(task, before, tf.constant(actions), tf.zeros([2, 0]))
        np.testing.assert_allclose(seen[:, 0], expected)
        np.testing.assert_allclose(reward, rewards)
    assert Walk.made > made


def test_a_step_does_not_repeat_those_before():
    environment = walks()
    made = Walk.made
    ml.tasks.Rollouts(environment, 5, 6)
    check_environment(environment)
    few = Walk.made - made
    assert few < 60  # and not one for every step of 4 trajectories, followed five times: 120


def test_spaces():
    """Discrete observations are one-hot vectors, and actions are clipped to their range."""

    class Table(Walk):
        def reset(self, seed):
            return seed % 3, {}

        def step(self, action):
            return 2, float(action[0]), False, False, {}

    three = types.SimpleNamespace(n=3)
    environment = environments.Gymnasium(lambda: Table(1.0, BOX, three), horizon=2)
    assert environment.spec == environments.Spec(3, 2, reset_noise=1, horizon=2)
    state, seen = environment.reset({}, tf.constant([[0.0]]))
    np.testing.assert_array_equal(seen, [[1.0, 0.0, 0.0]])
    _, seen, reward = environment.step({}, state, tf.constant([[7.0, 0.0]]), tf.zeros([1, 0]))
    np.testing.assert_array_equal(seen, [[0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(reward, [1.0])


class InGraph:
    """The same walk as tensors."""

    spec = environments.Spec(2, 2, discrete=True, reset_noise=1)

    def draw(self, seed, tasks):
        return walks().draw(seed, tasks)

    def reset(self, task, noise):
        place = tf.cast(tf.cast(noise[:, 0] * adapter.SEEDS, tf.int32) % 3, noise.dtype)
        return place, tf.stack([place, tf.zeros_like(place)], 1)

    def step(self, task, state, action, noise):
        alive = state < 4
        place = tf.where(alive, state + tf.cast(action, state.dtype), state)
        seen = tf.stack([place, tf.ones_like(place)], 1)
        return place, seen, tf.where(alive, -tf.abs(place - task["goal"]), 0.0)


def test_derivatives_are_those_of_the_same_walk_in_the_graph():
    """An inner loss and its derivatives equal those of the walk as tensors, to 1e-4."""
    found = []
    for environment in (walks(), InGraph()):
        task = ml.tasks.Rollouts(environment, 4, 6).sample((0, 0), 1).query
        learner = ml.problems.policy(environment, ml.models.mlp(2, (), 2), ml.rules.sgd(0.1))
        theta = learner.initialize(0)["parameters"]
        with tf.GradientTape() as tape:
            tape.watch(theta)
            loss = learner.problem.inner_loss(theta, {}, tf.nest.map_structure(lambda x: x[0], task), ())
        found.append([loss, *tape.gradient(loss, theta).values()])
    for outside, inside in zip(*found, strict=True):
        np.testing.assert_allclose(outside, inside, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_policy_is_trained_and_evaluated():
    """Meta-gradients equal those of the walk as tensors, to 1e-4; training and evaluation are finite."""
    gradients = []
    for environment in (walks(), InGraph()):
        source = ml.tasks.Rollouts(environment, 4, 6)
        learner = ml.problems.policy(environment, ml.models.mlp(2, (), 2), ml.rules.sgd(0.1))
        result = learner.meta_gradient(learner.initialize(0), source.sample((0, 0), 2))
        gradients.append(tf.nest.flatten((result.loss, result.gradient)))
        trainer = ml.MetaTrainer(learner, source, keras.optimizers.Adam(0.01), 2, check_derivatives=False)
        assert np.isfinite(trainer.run(2)["outer/return"]).all()
        report = ml.evaluate(learner, trainer.meta, source, num_tasks=2, steps=1, seed=1)
        assert np.isfinite(report.metrics["return"].mean).all()
    for outside, inside in zip(*gradients, strict=True):
        np.testing.assert_allclose(outside, inside, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: environments.Gymnasium(Walk, 0), "horizon must be an integer of at least 1, got 0"),
        (
            lambda: environments.Gymnasium(Walk, 3, {"goal": (1.0, 0.0)}),
            r"ranges\['goal'\] is the wrong way round",
        ),
        (
            lambda: environments.Gymnasium(lambda: Walk(1.0, None), 3),
            "action_space must have a number n or a shape, like Discrete and Box, got None",
        ),
        (
            lambda: ml.tasks.Rollouts(walks(), horizon=7),
            "horizon=7 is more than the 6 steps that Gymnasium allows",
        ),
        (
            lambda: ml.problems.policy(walks(), ml.models.mlp(2, (), 2), surrogate="pathwise", rule="sgd"),
            "surrogate='pathwise' needs derivatives, but Gymnasium has none",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.fixture
def pole():
    """Return Gymnasium's cart-pole with a given half length of the pole."""
    gymnasium = pytest.importorskip("gymnasium")

    def make(length):
        environment = gymnasium.make("CartPole-v1")
        environment.unwrapped.length = length
        return environment

    return make


def test_the_cart_pole_of_gymnasium(pole):
    """Observations equal those of the cart-pole's own steps; rewards after the end are 0."""
    environment = environments.Gymnasium(pole, 20, {"length": (0.3, 0.7)})
    check_environment(environment)
    task, noise = {"length": tf.constant(0.5)}, tf.constant([[0.25]])
    state, seen = environment.reset(task, noise)
    own = pole(0.5)
    np.testing.assert_allclose(seen[0], own.reset(seed=adapter.SEEDS // 4)[0])
    over, rewards = False, []
    for _ in range(20):
        state, seen, reward = environment.step(task, state, tf.constant([1]), tf.zeros([1, 0]))
        rewards.append(float(reward[0]))
        if not over:
            expected, _, over, _, _ = own.step(1)
        np.testing.assert_allclose(seen[0], expected)
    assert over
    assert 5 < sum(rewards) < 20
    assert rewards[-1] == 0


@pytest.mark.slow
def test_a_policy_adapts_its_pole(pole):
    """After meta-training, one step raises the mean return from below 60 to above 95 of 100.

    ``-s`` shows the returns.
    """
    poles = environments.Gymnasium(pole, horizon=100, ranges={"length": (0.3, 0.7)})
    tasks, model = ml.tasks.Rollouts(poles, 10, 100), ml.models.mlp(4, (32,), 2)
    learner = ml.problems.policy(poles, model, ml.rules.sgd(0.05), normalized=True, discount=0.99)
    trainer = ml.MetaTrainer(learner, tasks, keras.optimizers.Adam(0.01), 4, seed=0, check_derivatives=False)
    found = []
    for trained in (False, True):
        if trained:
            trainer.run(100)
        returns = ml.evaluate(learner, trainer.meta, tasks, num_tasks=20, steps=1, seed=1).metrics["return"]
        print(trained, returns.mean, returns.ci95)  # noqa: T201
        found.append(returns.mean)
    (_, before), (start, after) = found
    assert before < 40
    assert start < 60
    assert after > 95

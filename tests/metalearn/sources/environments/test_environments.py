"""Environments against NumPy, step by step."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

environments = ml.tasks.environments


def one(environment, seed=(0, 0)):
    return tf.nest.map_structure(lambda leaf: leaf[0], environment.draw(seed, 1))


def test_bandit():
    environment = environments.Bandit((0.5, 0.5))
    task = one(environment)
    state, seen = environment.reset(task, tf.zeros([2, 0]))
    np.testing.assert_array_equal(seen, [[0.0], [0.0]])
    _, seen, reward = environment.step(task, state, tf.constant([[0.5], [2.5]]), tf.zeros([2, 0]))
    np.testing.assert_array_equal(seen, [[0.0], [0.0]])
    np.testing.assert_allclose(reward, [0.0, -4.0])


def test_navigation():
    """Steps are clipped at 0.1 in each direction, and rewards are negative distances after the step."""
    environment, task = environments.Navigation(), {"goal": tf.constant([0.3, 0.4])}
    state, _ = environment.reset(task, tf.zeros([2, 0]))
    action = tf.constant([[5.0, -0.5], [0.0, 0.0]])
    _, seen, reward = environment.step(task, state, action, tf.zeros([2, 0]))
    np.testing.assert_allclose(seen, [[0.1, -0.05], [0.0, 0.0]], atol=1e-7)
    np.testing.assert_allclose(reward, [-np.hypot(0.2, 0.45), -0.5], rtol=1e-6)


def test_tabular_transitions_are_as_probable_as_the_table_says():
    environment = environments.Tabular(4, 3)
    task, count = one(environment), 20_000
    assert task["transitions"].shape == (4, 3, 4)
    np.testing.assert_allclose(tf.reduce_sum(task["transitions"], -1), np.ones((4, 3)), rtol=1e-6)
    noise = tf.constant((np.arange(count)[:, None] + 0.5) / count, tf.float32)
    state, seen = environment.reset(task, noise)
    np.testing.assert_array_equal(tf.argmax(seen, 1), np.zeros(count))
    _, seen, reward = environment.step(task, state, tf.fill([count], 2), noise)
    np.testing.assert_allclose(tf.reduce_mean(seen, 0), task["transitions"][0, 2], atol=1e-4)
    np.testing.assert_allclose(reward, np.full(count, task["rewards"][0, 2]))


def test_tables_are_drawn_as_said():
    drawn = environments.Tabular(3, 2).draw((0, 1), 3000)
    np.testing.assert_allclose([np.mean(drawn["rewards"]), np.std(drawn["rewards"])], [1, 1], atol=0.03)
    chances = drawn["transitions"].numpy()
    # Of a flat Dirichlet distribution of three: mean 1/3, variance (1/3)(2/3)/4.
    np.testing.assert_allclose([chances.mean(), chances.var()], [1 / 3, 1 / 18], rtol=0.03)


def test_cart_pole():
    """One step equals the textbook's equations, to 1e-6; without control the pole falls."""
    environment, task = environments.CartPole(), {"length": tf.constant(0.5), "goal": tf.constant(0.2)}
    x, v, q, w = 0.1, -0.2, 0.3, 0.4
    _, seen, reward = environment.step(
        task, tf.constant([[x, v, q, w]]), tf.constant([[0.5]]), tf.zeros([1, 0])
    )
    pushed = (5 + 0.05 * w**2 * np.sin(q)) / 1.1
    turned = (9.8 * np.sin(q) - np.cos(q) * pushed) / (0.5 * (4 / 3 - 0.1 * np.cos(q) ** 2 / 1.1))
    moved = pushed - 0.05 * turned * np.cos(q) / 1.1
    expected = np.array([x + 0.02 * v, v + 0.02 * moved, q + 0.02 * w, w + 0.02 * turned])
    np.testing.assert_allclose(seen, [expected], rtol=1e-6)
    np.testing.assert_allclose(reward, [np.cos(expected[2]) - (expected[0] - 0.2) ** 2], rtol=1e-6)
    state, _ = environment.reset(task, tf.fill([1, 4], 0.75))
    for _ in range(50):
        state, _, _ = environment.step(task, state, tf.zeros([1, 1]), tf.zeros([1, 0]))
    assert abs(state[0, 2]) > 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: environments.Bandit((1.0, 0.0)), "goal is the wrong way round"),
        (lambda: environments.Navigation((1.0, 0.0)), "goal is the wrong way round"),
        (lambda: environments.CartPole(length=(1.0, 0.0)), "length is the wrong way round"),
        (lambda: environments.Tabular(0), "states must be an integer of at least 1"),
        (lambda: environments.Tabular(2, 1), "choices must be an integer of at least 2"),
    ],
)
def test_numbers_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()

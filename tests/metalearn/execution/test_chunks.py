"""A meta-batch in chunks: the same of every task, the same mean, and a size that divides T."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution.chunks import CACHE_BYTES, in_chunks, largest_between, size_of_chunk


@pytest.mark.parametrize(
    ("tasks", "bytes_of_value", "size"),
    [
        (25, 4, 25),  # all fit
        (25, CACHE_BYTES // 25, 25),
        (2500, CACHE_BYTES // 60, 50),  # the largest divisor of what fits
        (2503, CACHE_BYTES // 60, 2503),  # prime
        (172, CACHE_BYTES // 20, 172),  # 4 is too small
        (25, CACHE_BYTES // 16, 5),
        (25, CACHE_BYTES // 4, 1),
        (6, 2 * CACHE_BYTES, 1),
        (1, 2 * CACHE_BYTES, 1),
    ],
)
def test_sizes_divide_the_tasks(tasks, bytes_of_value, size):
    assert size_of_chunk(tasks, bytes_of_value) == size


def test_the_size_follows_from_the_largest_value_of_a_task():
    """The sum of all values of a deep network is large, but each of them is small, so tasks stay together."""
    with tf.Graph().as_default():
        given = value = tf.compat.v1.placeholder("float32", [16, 8])
        shared = tf.compat.v1.placeholder("float32", [8, 90])
        for _ in range(100):
            value = tf.tanh(value)
        assert largest_between(given, value) == 16 * 8 * 4
        assert largest_between(given, [value, tf.tanh(shared)]) == 16 * 8 * 4  # not of a task
        wide = tf.matmul(value, shared)
        assert largest_between(given, value) == 16 * 8 * 4  # not needed
        assert largest_between(given, wide) == 16 * 90 * 4
        fused = tf.reduce_sum(value[:, :, None] * wide[:, None, :], 0)
        assert largest_between(given, fused) == 16 * 90 * 4  # the products have no value of their own


@pytest.mark.parametrize("wrap", ["in_graph", "with_xla"])
def test_chunks_give_what_all_tasks_give_together(wrap, request):
    rng = np.random.default_rng(0)
    tasks = {"a": rng.normal(size=(6, 3)), "b": rng.normal(size=(6,))}

    def function(tasks):
        product = tasks["a"] * tasks["b"][:, None]
        return (product, {"b": tasks["b"]}), {"mean": tf.reduce_mean(product, 0)}

    def sizes(tasks):
        return [in_chunks(function, tasks, size) for size in (6, 3, 1)]

    expected = tasks["a"] * tasks["b"][:, None]
    for (product, same), mean in request.getfixturevalue(wrap)(sizes)(tasks):
        np.testing.assert_allclose(product, expected, rtol=1e-15)
        np.testing.assert_array_equal(same["b"], tasks["b"])
        np.testing.assert_allclose(mean["mean"], expected.mean(0), rtol=1e-14)


def test_meta_gradients_are_those_of_all_tasks_together(monkeypatch, in_graph):
    """Meta-gradients in chunks of two tasks equal those of all tasks together, to 1e-12."""
    problem = ml.BilevelProblem(
        start=lambda phi, task: phi,
        inner_loss=lambda theta, phi, batch, model: tf.reduce_sum(tf.cos(theta["theta"] * batch)),
        outer_loss=lambda theta, phi, task, model: tf.reduce_mean(tf.square(theta["theta"] - task.query)),
        rule=ml.rules.sgd(0.1),
        steps=2,
    )
    rng = np.random.default_rng(0)
    phi, tasks = {"theta": rng.normal(size=3)}, ml.Task(rng.normal(size=(6, 3)), rng.normal(size=(6, 3)))
    phi, tasks = tf.nest.map_structure(tf.constant, (phi, tasks))
    asked = []

    def two(count, bytes_of_value):
        asked.append((count, bytes_of_value))
        return 2

    estimate = ml.estimators.checkpointed()
    whole = in_graph(lambda phi, tasks: estimate(problem, phi, tasks)[0])(phi, tasks)
    monkeypatch.setattr("metalearn.estimators.working_set.size_of_chunk", two)
    parts = in_graph(lambda phi, tasks: estimate(problem, phi, tasks)[0])(phi, tasks)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), whole, parts)
    ((count, bytes_of_value),) = asked
    assert count == 6
    assert bytes_of_value == 3 * 8

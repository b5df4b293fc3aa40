"""Tasks on all cores: the derivatives through the map, of two orders."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn.execution.task_map import map_tasks

X = tf.random.stateless_normal((3, 2), (1, 2), dtype=tf.float64)
W = tf.constant([0.3, 0.7], tf.float64)


def of_one_task(task, w):
    """Return results of several kinds, of which one is an integer and one ignores the task."""
    wave = tf.reduce_sum(tf.sin(task["x"] * w))
    return {"wave": wave, "next": task["n"] + 1, "product": w * task["x"][0], "w": w}


def derivatives(mapping):
    """Return two orders of derivatives of a function of the mapped results."""

    def of(x, w):
        with tf.GradientTape() as outer:
            outer.watch((x, w))
            with tf.GradientTape() as inner:
                inner.watch((x, w))
                tasks = {"n": tf.range(3), "x": x}
                found = map_tasks(lambda task: of_one_task(task, w), tasks, mapping=mapping)
                value = sum(
                    tf.reduce_sum(tf.math.pow(found[name], power))
                    for name, power in (("wave", 2), ("product", 3), ("w", 4))
                )
            first = inner.gradient(value, (x, w))
            size = sum(tf.reduce_sum(tf.square(leaf)) for leaf in first)
        return *first, *outer.gradient(size, (x, w))

    return of


@pytest.mark.parametrize("built", [lambda function: function, tf.function], ids=["eager", "graph"])
def test_derivatives_through_the_map_are_those_of_the_vectorised_form(built):
    """First and second derivatives by tasks and by what all tasks share agree, to rounding."""
    pairs = zip(*(built(derivatives(mapping))(X, W) for mapping in ("sequential", "vectorized")), strict=True)
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-13)
        assert np.abs(expected).max() > 0.1


def test_a_derivative_by_a_variable_is_refused():
    """The derivative by a variable within the function would be None, so there is an error instead."""
    scale = tf.Variable(2.0, dtype=tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(X)
        value = tf.reduce_sum(map_tasks(lambda x: x * scale, X, mapping="sequential"))
    with pytest.raises(ValueError, match="does not reach the variables that its function reads"):
        tape.gradient(value, scale)


def test_the_number_of_tasks_may_be_unknown():
    """A graph for any number of tasks has the results of each number."""
    doubled = tf.function(
        lambda x: map_tasks(lambda x: 2.0 * x, x, mapping="sequential"),
        input_signature=[tf.TensorSpec([None, 2], tf.float64)],
    )
    for tasks in (0, 1, 3):
        np.testing.assert_array_equal(doubled(X[:tasks]), 2 * X[:tasks])

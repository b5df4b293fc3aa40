"""Tasks on all cores, and the loops that replace them where derivatives through the map are needed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution.choice import differentiable_maps
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
                with differentiable_maps():
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


def test_a_derivative_that_does_not_exist_is_an_error():
    """Without the context, a derivative through the map is an error, not None."""
    with tf.GradientTape() as tape:
        tape.watch(X)
        value = tf.reduce_sum(map_tasks(lambda x: x * x, X, mapping="sequential"))
    with pytest.raises(LookupError, match="no entry for: MapDefun"):
        tape.gradient(value, X)


def test_adaptation_and_prediction_of_convolutions_have_derivatives():
    """The derivative of predictions after an inner step, as by finite differences along a direction."""
    model = ml.models.conv4((9, 9, 1), ways=2, filters=3, dtype="float64")
    for layer in model.layers:
        if isinstance(layer, keras.layers.ReLU):  # its kinks spoil differences
            layer.call = tf.math.softplus
    learner = ml.MetaLearner(model, "cross_entropy", ml.rules.sgd(0.3), statistics="batch")
    meta, random = learner.initialize(0), np.random.default_rng(0)
    support = ml.Batch(tf.constant(random.random((3, 4, 9, 9, 1))), tf.constant([[0, 0, 1, 1]] * 3))
    leaves = tf.nest.flatten(meta)
    along = [tf.constant(random.normal(size=leaf.shape)) for leaf in leaves]

    def value(step):
        moved = [leaf + step * direction for leaf, direction in zip(leaves, along, strict=True)]
        adapted = learner.adapt(tf.nest.pack_sequence_as(meta, moved), support)
        return tf.reduce_sum(tf.square(learner.predict(adapted, support.inputs)))

    step = tf.constant(0.0, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(step)
        found = value(step)
    expected = (value(step + 1e-6) - value(step - 1e-6)) / 2e-6
    np.testing.assert_allclose(tape.gradient(found, step), expected, rtol=1e-6)


def test_the_number_of_tasks_may_be_unknown():
    """A graph for any number of tasks has the results of each number."""
    doubled = tf.function(
        lambda x: map_tasks(lambda x: 2.0 * x, x, mapping="sequential"),
        input_signature=[tf.TensorSpec([None, 2], tf.float64)],
    )
    for tasks in (0, 1, 3):
        np.testing.assert_array_equal(doubled(X[:tasks]), 2 * X[:tasks])

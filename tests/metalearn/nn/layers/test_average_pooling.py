"""Average-pooling of images is Keras' own: it is right to third order, mapped over tasks, under XLA."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution.task_map import map_tasks

X, V = (tf.constant(np.random.default_rng(seed).normal(size=(2, 7, 6, 3))) for seed in range(2))


@pytest.mark.parametrize("jit", [False, True])
def test_second_and_third_derivatives_are_those_of_differences(jit):
    """For overlapping windows that are cut at the edges, derivatives equal differences to 1e-8.

    So ``exact`` does not replace the layer.
    """
    layer = keras.layers.AveragePooling2D(3, 2, "same", dtype="float64")

    def product(x):
        return ml.derivatives.hvp(lambda x: tf.reduce_sum(tf.sin(3 * layer(x))), x, V)

    def third(x):
        return ml.derivatives.value_and_gradient(lambda x: tf.reduce_sum(V * product(x)), x)[1]

    mapped = tf.function(
        lambda x: map_tasks(lambda x: (product(x), third(x)), x, mapping="vectorized"),
        jit_compile=jit,
        autograph=False,
    )
    second, third_order = mapped(tf.stack([X, X]))

    def gradient(x):
        return ml.derivatives.value_and_gradient(lambda x: tf.reduce_sum(tf.sin(3 * layer(x))), x)[1]

    expected, _ = ml.derivatives.central_differences(gradient, X, V)
    np.testing.assert_allclose(second[1], expected, rtol=0, atol=1e-8)
    expected, _ = ml.derivatives.central_differences(lambda x: tf.reduce_sum(V * product(x)), X, V)
    np.testing.assert_allclose(tf.reduce_sum(V * third_order[1]), expected, rtol=0, atol=1e-8)

"""A model computes in the type of the parameters that it is given."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from metalearn.nn import functional

LAYERS = keras.layers


def functional_model():
    inputs = keras.Input((4,))
    hidden = LAYERS.BatchNormalization()(LAYERS.Dense(5, activation="tanh")(inputs))
    return keras.Model(inputs, LAYERS.Dense(2)(LAYERS.Concatenate()([hidden * 2.0, inputs])))


def sequential_model():
    return keras.Sequential([keras.Input((4,)), LAYERS.Dense(5, activation="tanh"), LAYERS.Dense(2)])


def nested_model():
    return keras.Sequential([keras.Input((4,)), sequential_model(), LAYERS.Dense(2, kernel_regularizer="l2")])


def mixed_model():
    return keras.Sequential([keras.Input((4,)), LAYERS.Dense(2, dtype="mixed_float16")])


@pytest.mark.parametrize("make", [functional_model, sequential_model, nested_model, mixed_model])
@pytest.mark.parametrize("training", [False, True])
def test_a_change_below_float32_is_seen(make, training):
    """In float64, a relative change of the parameters by 1e-10 changes the outputs, not the model."""
    model = make()
    single = functional.parameters(model)
    double = {key: tf.cast(value, tf.float64) for key, value in single.items()}
    inputs = tf.constant(np.random.default_rng(0).normal(size=(3, 4)))
    before = functional.apply(model, single, inputs, training=training)

    def call(factor):
        parameters = {key: factor * value for key, value in double.items()}
        return functional.call(model, parameters, inputs, training=training)

    outputs, losses, state = call(1.0)
    moved = call(1 + 1e-10)[0] - outputs
    assert outputs.dtype == tf.float64
    assert 1e-12 < np.abs(moved).max() < 1e-8
    assert losses is None or losses.dtype == tf.float64
    assert all(value.dtype == functional.state(model)[key].dtype for key, value in state.items())
    after = functional.apply(model, single, inputs, training=training)
    assert after.dtype == before.dtype
    np.testing.assert_array_equal(before, after)


def test_inputs_are_not_rounded():
    """Float64 inputs of a sequential model are not rounded to its input layer's type, float32."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    (key,) = functional.parameters(model)
    one = {key: tf.ones([1, 1], tf.float64)}
    assert float(functional.apply(model, one, tf.constant([[0.1]], tf.float64))[0, 0]) == 0.1
    assert model(tf.constant([[0.1]], tf.float64)).dtype == tf.float32

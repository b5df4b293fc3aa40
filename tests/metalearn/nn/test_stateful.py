"""Batch statistics, found by tracing a training call."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.nn.stateful import batch_statistics, statistic_keys

LAYERS = keras.layers


class Centre(keras.Layer):
    """A user-defined layer with a moving mean, and a counter of its calls."""

    def build(self, shape):
        self.mean = self.add_weight(shape=shape[-1:], trainable=False, initializer="zeros", name="mean")
        self.calls = self.add_weight(shape=(), trainable=False, initializer="zeros", dtype="int32", name="n")

    def call(self, inputs, training=False):
        self.calls.assign(self.calls + 1)
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * keras.ops.mean(inputs, axis=0))
        return inputs - tf.convert_to_tensor(self.mean)


def everything():
    """Return a model with every kind of layer that has numbers which are not trained."""
    adapted = LAYERS.Normalization(name="adapted")
    adapted.adapt(np.random.default_rng(0).normal(size=(10, 4)))
    frozen = LAYERS.Dense(4, name="frozen")
    frozen.trainable = False
    return keras.Sequential(
        [
            keras.Input((4,)),
            adapted,
            frozen,
            LAYERS.BatchNormalization(name="keras"),
            LAYERS.BatchNormalization(name="still", trainable=False),
            keras.Sequential([ml.layers.BatchNormalization(name="ours"), LAYERS.Dropout(0.1)], name="nested"),
            LAYERS.SpectralNormalization(LAYERS.Dense(4), name="spectral"),
            Centre(name="centre"),
            LAYERS.LayerNormalization(),
        ]
    )


def test_they_are_named():
    """Layers with moving statistics are named by path, without those that are frozen or set once."""
    model = everything()
    assert batch_statistics(model) == ["keras", "nested/ours", "spectral", "centre"]
    assert statistic_keys(model)[:2] == ["keras/moving_mean", "keras/moving_variance"]
    assert statistic_keys(model)[-1] == "centre/mean"


def test_most_models_have_none():
    for model in (ml.models.mlp(), ml.models.context_mlp()):
        assert batch_statistics(model) == []


def test_subclassed_models_are_traced_on_the_shapes_they_were_built_with():
    """Subclassed models are traced with the shapes of their first call; without these, it is an error."""

    class Pair(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm = LAYERS.BatchNormalization(name="norm")

        def call(self, inputs):
            return self.norm(inputs["a"] + inputs["b"] if isinstance(inputs, dict) else inputs)

    class Unknown(Pair):
        def get_build_config(self):
            return None

    ones = tf.ones((2, 3))
    for inputs in (ones, {"a": ones, "b": ones}):
        model = Pair()
        model(inputs)
        assert batch_statistics(model) == ["norm"]
    model = Unknown()
    model(ones)
    with pytest.raises(ValueError, match=r"shapes of the inputs of model 'unknown.*' are unknown"):
        batch_statistics(model)

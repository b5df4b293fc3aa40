"""Keys of a model's variables: readable, unique, and the same in every process."""

import inspect
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import metalearn as ml


def build_models():
    """Return models of many kinds, built, with automatic names wherever Keras gives them."""
    layers = keras.layers

    class Listed(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = layers.Dense(2)
            self.rest = [layers.Dense(3), layers.Dense(1)]
            self.scale = self.add_weight(shape=(3,), name="scale")

        def call(self, inputs, training=None):
            return self.rest[1](self.rest[0](self.first(inputs)) * self.scale)

    inner = keras.Sequential([layers.Dense(3), layers.Dense(3, name="head")])
    nested = keras.Sequential([keras.Input((2,)), layers.Dense(2), inner, layers.Dense(1)])
    sequence = keras.Input((5, 4))
    attended = layers.MultiHeadAttention(2, 3)(sequence, sequence)
    attention = keras.Model(sequence, layers.Dense(1)(attended))
    recurrent = keras.Sequential([keras.Input((5, 2)), layers.Bidirectional(layers.LSTM(3)), layers.Dense(1)])
    images = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(2, 3), layers.BatchNormalization(), layers.Dropout(0.5)]
    )
    listed = Listed()
    listed(np.zeros((1, 2), "float32"))
    return {
        "nested": nested,
        "attention": attention,
        "recurrent": recurrent,
        "images": images,
        "listed": listed,
    }


def all_keys(models):
    """Return the keys of parameters and of state of every model, in order."""
    return {
        name: [list(ml.functional.parameters(model)), list(ml.functional.state(model))]
        for name, model in models.items()
    }


@pytest.fixture(scope="module")
def models():
    """Return the models of a second build, when Keras' automatic names have moved on."""
    build_models()
    return build_models()


def test_keys_are_readable(models):
    """Keys are paths inside the model, with automatic names numbered by position, as written by hand."""
    keys = all_keys(models)
    assert keys["nested"][0] == [
        *("dense/kernel", "dense/bias"),
        *("sequential/dense/kernel", "sequential/dense/bias"),
        *("sequential/head/kernel", "sequential/head/bias"),
        *("dense_1/kernel", "dense_1/bias"),
    ]
    assert keys["listed"][0] == [
        *("dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"),
        *("dense_2/kernel", "dense_2/bias", "scale"),
    ]
    assert keys["attention"][0][::2] == [
        *(f"multi_head_attention/{part}/kernel" for part in ("query", "key", "value", "attention_output")),
        "dense/kernel",
    ]
    assert keys["recurrent"][0][:3] == [
        f"bidirectional/forward_lstm/lstm_cell/{name}" for name in ("kernel", "recurrent_kernel", "bias")
    ]
    assert [key.split("/")[0] for key in keys["images"][1]] == [
        *("batch_normalization", "batch_normalization", "dropout")
    ]


def test_keys_are_unique_and_complete(models):
    """Every variable has its own key, with its own value."""
    for model in models.values():
        values = [*ml.functional.parameters(model).values(), *ml.functional.state(model).values()]
        assert len(values) == len(model.variables)
        assert len(ml.functional.parameters(model)) == len(model.trainable_variables)
        norms = sorted(float(np.sum(np.square(np.float64(value)))) for value in values)
        own = sorted(float(np.sum(np.square(np.float64(variable.numpy())))) for variable in model.variables)
        assert norms == own


@pytest.mark.slow
def test_keys_are_the_same_in_every_process(models):
    """Another process, in which no other layer was created before, gives equal keys."""
    functions = "".join(map(inspect.getsource, (build_models, all_keys)))
    imports = "import json, keras\nimport numpy as np\nimport metalearn as ml\n"
    program = f"{imports}{functions}print(json.dumps(all_keys(build_models())))"
    root = pathlib.Path(ml.__file__).parents[1]
    process = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, check=True)
    assert json.loads(process.stdout.splitlines()[-1]) == all_keys(models)


def test_equal_explicit_names_are_told_apart():
    """Sublayers with equal names have different keys, in different parents and in the same one."""

    class Twins(keras.layers.Layer):
        def __init__(self, name):
            super().__init__(name=name)
            self.one, self.two = keras.layers.Dense(2, name="a"), keras.layers.Dense(2, name="a")

        def call(self, inputs):
            return self.two(self.one(inputs))

    model = keras.Sequential([keras.Input((2,)), Twins("left"), Twins("right")])
    keys = [key for key in ml.functional.parameters(model) if key.endswith("kernel")]
    assert keys == ["left/a/kernel", "left/a_1/kernel", "right/a/kernel", "right/a_1/kernel"]


def test_shared_layers_have_one_key():
    """A layer that is used twice has one key for each variable."""
    shared, inputs = keras.layers.Dense(2, name="shared"), keras.Input((2,))
    model = keras.Model(inputs, shared(shared(inputs)))
    assert list(ml.functional.parameters(model)) == ["shared/kernel", "shared/bias"]

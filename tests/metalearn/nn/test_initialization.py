"""Initial parameters: every variable from its own initializer, equal in every process, or an error."""

import hashlib
import inspect
import pathlib
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

LAYERS = keras.layers


def build_models():
    """Return models with variables whose initializers are kept under other names, or nowhere."""
    layers = keras.layers

    class Own(keras.layers.Layer):
        def __init__(self, scale=0.1, **options):
            super().__init__(**options)
            self.scale = scale

        def build(self, shape):
            inner = keras.initializers.RandomNormal(self.scale)
            self.a = self.add_weight(shape=(shape[-1], 3), initializer="random_normal", name="a")
            self.b = self.add_weight(shape=(3,), initializer=lambda *a, **k: 2 * inner(*a, **k), name="b")
            self.c = self.add_weight(shape=(3,))

        def call(self, inputs):
            return inputs @ tf.convert_to_tensor(self.a) * self.b + self.c

    def model(shape, *rest):
        return keras.Sequential([keras.Input(shape), *rest])

    return {
        "lstm": model((5, 2), layers.LSTM(3, bias_initializer="random_normal")),
        "gru": model((5, 2), layers.Bidirectional(layers.GRU(3))),
        "convlstm": model((4, 6, 1), layers.ConvLSTM1D(2, 3, bias_initializer="random_normal")),
        "depthwise": model((6, 6, 2), layers.DepthwiseConv2D(3)),
        "separable": model((6, 6, 2), layers.SeparableConv2D(4, 3)),
        "embedded": model((5,), layers.RMSNormalization(), layers.Embedding(5, 2)),
        "own": model((4,), Own(0.5)),
    }


def digests(models):
    """Return a digest of the parameters that are drawn for each model with seed 7, and with seed 8."""
    found = []
    for model in models.values():
        for seed in (7, 8):
            values = ml.functional.initialize(model, seed)
            found.append(hashlib.sha256(b"".join(v.numpy().tobytes() for v in values.values())).hexdigest())
    return found


def test_two_processes_draw_the_same():
    """Another process draws equal parameters for a seed, and another seed draws others, for all layers."""
    functions = "".join(map(inspect.getsource, (build_models, digests)))
    imports = "import hashlib, keras\nimport metalearn as ml\nimport tensorflow as tf\n"
    program = f"{imports}{functions}print(*digests(build_models()))"
    root = pathlib.Path(ml.__file__).parents[1]
    process = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, check=True)
    here = digests(build_models())
    assert process.stdout.decode().splitlines()[-1].split() == here
    assert len(set(here)) == len(here)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_program_draws_the_same(jit_compile):
    """A graph, also compiled by XLA, draws the same bits as eager mode."""
    model = ml.models.mlp(hidden=(8,))
    program = tf.function(
        lambda: ml.functional.initialize(model, 3), jit_compile=jit_compile, autograph=False
    )
    tf.nest.map_structure(np.testing.assert_array_equal, program(), ml.functional.initialize(model, 3))


def test_every_variable_is_drawn_afresh():
    """No drawn variable keeps the model's value."""
    for name, model in build_models().items():
        model.set_weights([value + 100 for value in model.get_weights()])
        drawn = ml.functional.initialize(model, 0)
        assert list(drawn) == list(ml.functional.parameters(model))
        for key, value in drawn.items():
            assert np.abs(value).max() < 10, (name, key)


def test_initializers_are_those_of_the_layer():
    """Drawn values have the distribution of each layer's initializer."""
    models = build_models()
    recurrent = ml.functional.initialize(models["lstm"], 0)["lstm/lstm_cell/recurrent_kernel"].numpy()
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(3), atol=1e-5)
    bias = ml.functional.initialize(models["lstm"], 0)["lstm/lstm_cell/bias"].numpy()
    np.testing.assert_array_equal(bias[3:6], 1)
    assert len(set(bias)) == 10
    own = [ml.functional.initialize(models["own"], seed) for seed in range(200)]
    assert abs(np.std([values["own/a"] for values in own]) - 0.05) < 0.002
    assert abs(np.mean([values["own/b"] for values in own]) - 1.0) < 4 * 0.1 / np.sqrt(600)
    depthwise = ml.functional.initialize(models["depthwise"], 0)["depthwise_conv2d/kernel"].numpy()
    assert 0.1 < np.abs(depthwise).max() <= np.sqrt(6 / (3 * 3 * 2 + 3 * 3 * 1))


class Scale(keras.Layer):
    """A user-defined layer with the given parameters."""

    def __init__(self, values=None, initializer=None, function=None, **options):
        super().__init__(**options)
        if values is not None:
            self.values = keras.Variable(values, name="values")
        else:
            self.values = self.add_weight(shape=(4,), initializer=initializer or function, name="values")

    def call(self, inputs):
        return inputs * self.values


class Drawing(keras.initializers.Initializer):
    """A user-defined initializer, with or without a seed."""

    def __init__(self, draw):
        self.draw = draw

    def __call__(self, shape, dtype=None):
        return self.draw(shape)

    def get_config(self):
        return {"draw": self.draw}


@pytest.mark.parametrize("seed", [0, 3])
def test_seeds_replace_those_of_the_initializers(seed):
    """Kernels are drawn by Keras' initializers with seeds from NumPy's seed sequences, by position."""
    layers = [LAYERS.Dense(4, kernel_initializer=keras.initializers.HeNormal(seed=5)), LAYERS.Dense(2)]
    drawn = ml.functional.initialize(keras.Sequential([keras.Input((3,)), *layers]), seed)
    kinds = keras.initializers.HeNormal, keras.initializers.GlorotUniform
    for key, kind, place in zip(("dense/kernel", "dense_1/kernel"), kinds, (0, 2), strict=True):
        entropy = int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
        np.testing.assert_array_equal(drawn[key], kind(seed=entropy // 2)(drawn[key].shape))


def dense(initializer):
    layer = LAYERS.Dense(4, use_bias=False, kernel_initializer=initializer, name="dense")
    return keras.Sequential([keras.Input((4,)), layer])


def from_numpy(shape, dtype=None):
    return np.random.normal(size=shape)


@pytest.mark.parametrize("initializer", [from_numpy, Drawing(from_numpy)])
def test_functions_that_draw_from_global_generators(initializer):
    """Initializers that use NumPy's global generator depend on the seed, and its state is restored."""
    model = dense(initializer)
    before = np.random.get_state()[1].copy()
    first, again, other = (ml.functional.initialize(model, seed)["dense/kernel"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize(
    "draw", [tf.random.normal, lambda shape: keras.random.normal(shape), np.random.default_rng(0).random]
)
def test_functions_with_a_generator_of_their_own_are_refused(draw):
    """An initializer with its own generator is an error, because the seed does not reach it."""
    with pytest.raises(ValueError, match=r"'dense/kernel' \(Dense\) cannot be drawn from a seed: .*own"):
        ml.functional.initialize(dense(Drawing(draw)), 0)


def test_what_cannot_be_drawn_is_named():
    """The error names a variable that cannot be drawn, and recommends ``initialize="model"``."""
    for layer in (
        Scale(values=np.ones(4, "float32"), name="scale"),
        Scale(function=lambda shape, dtype: tf.ones(shape), name="scale"),
    ):
        model = keras.Sequential([keras.Input((4,)), layer])
        with pytest.raises(ValueError, match=r"'scale/values' \(Scale\) .*initialize=\"model\""):
            ml.functional.initialize(model, 0)
    model = keras.Sequential([keras.Input((4,)), Scale(initializer="random_normal", name="scale")])
    assert np.std(ml.functional.initialize(model, 0)["scale/values"]) > 0


class TestInitialize:
    """New parameters, as a pure function of the seed."""

    @pytest.fixture
    def model(self):
        """Return a model with two layers of equal shape, a constant one, and values that are not fresh."""
        layers = [
            keras.layers.Dense(4, name="first"),
            keras.layers.Dense(4, name="second"),
            keras.layers.Dense(4, name="fixed", kernel_initializer=keras.initializers.Constant(0.25)),
        ]
        model = keras.Sequential([keras.Input((4,)), *layers])
        model.set_weights([value + 1 for value in model.get_weights()])
        return model

    def test_same_seed_same_bits(self, model):
        """Equal seeds draw equal bits, also for a clone of the model."""
        first = ml.functional.initialize(model, 3)
        assert list(first) == list(ml.functional.parameters(model))
        for again in (model, keras.models.clone_model(model)):
            drawn = ml.functional.initialize(again, 3)
            assert all(np.array_equal(first[key], drawn[key]) for key in first)

    def test_seeds_and_layers_differ(self, model):
        """Different seeds, and layers of equal shape, have different weights."""
        drawn = [ml.functional.initialize(model, seed) for seed in (0, 1, 2**40)]
        weights = [values[f"{name}/kernel"].numpy() for values in drawn for name in ("first", "second")]
        assert np.unique(np.stack(weights)).size == 6 * 16

    def test_initializers_are_the_layers_own(self, model):
        """Biases are zero, a constant is unchanged, Glorot is within ``sqrt(6

        8)``.
        """
        drawn = ml.functional.initialize(model, 0)
        for name in ("first", "second", "fixed"):
            np.testing.assert_array_equal(drawn[f"{name}/bias"], np.zeros(4))
        np.testing.assert_array_equal(drawn["fixed/kernel"], np.full((4, 4), 0.25))
        assert 0.5 < np.abs(drawn["first/kernel"]).max() <= np.sqrt(6 / 8)

    def test_nothing_else_changes(self, model):
        """Neither the model's variables nor the global random generators change."""
        before = [value.copy() for value in model.get_weights()]
        keras.utils.set_random_seed(5)
        states = random.getstate(), np.random.get_state()[1].copy()
        expected = float(keras.random.uniform(()))
        keras.utils.set_random_seed(5)
        ml.functional.initialize(model, 0)
        assert random.getstate() == states[0]
        np.testing.assert_array_equal(np.random.get_state()[1], states[1])
        assert float(keras.random.uniform(())) == expected
        assert all(map(np.array_equal, before, model.get_weights()))

    def test_forget_gates_start_open(self):
        """The forget bias of an LSTM starts at 1, which is Keras' default."""
        model = keras.Sequential([keras.Input((5, 2)), keras.layers.LSTM(3)])
        bias = ml.functional.initialize(model, 0)["lstm/lstm_cell/bias"]
        np.testing.assert_array_equal(bias, [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0])

    def test_functions_may_initialize(self):
        """Keras takes any ``(shape, dtype) -> tensor`` for an initializer."""
        layer = keras.layers.Dense(2, kernel_initializer=lambda shape, dtype=None: tf.fill(shape, 0.5))
        drawn = ml.functional.initialize(keras.Sequential([keras.Input((2,)), layer]), 0)
        np.testing.assert_array_equal(drawn["dense/kernel"], np.full((2, 2), 0.5))

"""Random layers: a pure function of the given seed, and disabled without one."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.nn.stateful import require_silence, seeded_layers
from metalearn.nn.vectorizable import is_sequential

LAYERS = keras.layers


class Jitter(keras.Layer):
    """A user-defined layer with a seed generator, which draws only in training."""

    def __init__(self, **options):
        super().__init__(**options)
        self.generator = keras.random.SeedGenerator(3)

    def call(self, inputs, training=False):
        if training:
            inputs += keras.random.normal(keras.ops.shape(inputs), seed=self.generator)
        return inputs


class Always(Jitter):
    """A user-defined layer with a seed generator, which also draws in inference."""

    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.generator)


class Around(keras.Layer):
    """A layer that owns a seed generator and a layer with batch statistics, and names the flag."""

    def __init__(self, **options):
        super().__init__(**options)
        self.generator = keras.random.SeedGenerator(3)
        self.norm = LAYERS.BatchNormalization(name="norm")

    def call(self, inputs, training=False):
        if training:
            inputs += keras.random.normal(keras.ops.shape(inputs), seed=self.generator)
        return self.norm(inputs, training=training)


class Subclassed(keras.Model):
    """Nested layers in a call that does not pass the training flag on."""

    def __init__(self):
        super().__init__()
        self.drop, self.jitter = LAYERS.Dropout(0.5), Jitter()
        self.inner = keras.Sequential([LAYERS.Dense(4), LAYERS.AlphaDropout(0.5)])

    def call(self, inputs):
        return self.inner(self.jitter(self.drop(inputs)))


def sequential(*layers, shape=(4,)):
    return keras.Sequential([keras.Input(shape), *layers])


def attention():
    inputs = keras.Input((5, 4))
    return keras.Model(inputs, LAYERS.MultiHeadAttention(2, 3, dropout=0.5)(inputs, inputs))


def subclassed():
    model = Subclassed()
    model(tf.ones((1, 4)))
    return model


MODELS = {
    "dropout": lambda: sequential(LAYERS.Dropout(0.5)),
    "noise": lambda: sequential(LAYERS.Dense(4), LAYERS.GaussianNoise(1.0)),
    "stranger": lambda: sequential(Jitter()),
    "attention": attention,
    "recurrent": lambda: sequential(LAYERS.LSTM(3, dropout=0.5, recurrent_dropout=0.5), shape=(5, 4)),
    "unrolled": lambda: sequential(LAYERS.GRU(3, dropout=0.5, unroll=True), shape=(5, 4)),
    "augmented": lambda: sequential(LAYERS.RandomFlip(), shape=(5, 4, 1)),
    "subclassed": subclassed,
}


def examples(model, count=6):
    shape = (model.input_shape if hasattr(model, "inputs") and model.inputs else (None, 4))[1:]
    return tf.constant(np.random.default_rng(0).normal(size=(count, *shape)), tf.float32)


@pytest.mark.parametrize("name", MODELS)
def test_draws_are_a_function_of_the_seed(name, in_graph):
    """Equal seeds give equal outputs, other seeds others; without a seed, outputs are those of inference."""
    model = MODELS[name]()
    inputs, parameters = examples(model), ml.functional.parameters(model)
    before = [variable.value.numpy() for variable in model.variables]

    def drawn(*seed):
        return ml.functional.call(model, parameters, inputs, training=True, noise=tf.constant(seed))[0]

    first = drawn(0, 7)
    np.testing.assert_array_equal(first, drawn(0, 7))
    np.testing.assert_allclose(first, in_graph(lambda: drawn(0, 7))(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(first, drawn(*np.array([0, 7], np.int64)))
    for other in ((0, 8), (1, 7)):
        assert not np.array_equal(first, drawn(*other))
    silent, _, after = ml.functional.call(model, parameters, inputs, training=True)
    np.testing.assert_array_equal(silent, ml.functional.apply(model, parameters, inputs))
    assert not np.array_equal(first, silent)
    for key, value in ml.functional.state(model).items():
        np.testing.assert_array_equal(after[key], value)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.value, value)
    assert is_sequential(model)
    require_silence(model)


def test_generators_have_streams_of_their_own():
    """Two dropout layers of equal shape with equal seeds in Keras draw different masks."""
    layers = [LAYERS.Dropout(0.5, seed=1, name=name) for name in ("a", "b")]
    inputs = keras.Input((200,))
    model = keras.Model(inputs, [layer(inputs) for layer in layers])
    ones = tf.ones((1, 200))
    (first, second), _, _ = ml.functional.call(model, {}, ones, training=True, noise=tf.constant([0, 0]))
    assert 0.3 < np.mean((first != 0) == (second != 0)) < 0.7


def test_the_model_is_as_before_after_an_error():
    """After a call that fails, no layer is switched off."""
    model = sequential(LAYERS.Dropout(0.5), LAYERS.Dense(1))
    with pytest.raises(ValueError, match="incompatible with the layer"):
        ml.functional.call(model, ml.functional.parameters(model), tf.ones((2, 7)), training=True)
    assert "call" not in vars(model.layers[0])
    assert np.any(model.layers[0](tf.ones((1, 100)), training=True) == 0)


def test_the_mean_loss_under_dropout_has_a_closed_form(in_graph):
    """Over 4000 seeds, the mean loss of a linear model is within 4 standard errors of its closed form.

    It is ``(w x - t)^2 + rate

    (1 - rate) sum_i (w_i x_i)^2``.
    """
    rate, draws = 0.3, 4000
    model = sequential(LAYERS.Dropout(rate), LAYERS.Dense(1, use_bias=False))
    rng = np.random.default_rng(0)
    x, w, t = rng.normal(size=(3, 4)), rng.normal(size=(4, 1)), rng.normal(size=(3, 1))
    parameters = {"dense/kernel": tf.constant(w, tf.float32)}
    inputs, targets = tf.constant(x, tf.float32), tf.constant(t, tf.float32)

    def loss(seed):
        outputs = ml.functional.call(model, parameters, inputs, training=True, noise=tf.stack([0, seed]))[0]
        return ml.losses.mse(targets, outputs)

    losses = in_graph(lambda: tf.map_fn(loss, tf.range(draws), fn_output_signature=tf.float32))().numpy()
    expected = np.mean((x @ w - t) ** 2 + rate / (1 - rate) * (x**2 @ w**2))
    error = losses.std() / np.sqrt(draws)
    assert error < 0.05 * expected
    assert abs(losses.mean() - expected) < 4 * error


class TestSeededLayers:
    """Layers whose draws change the outputs of a training call are listed by their paths."""

    def test_are_named(self):
        model = sequential(
            LAYERS.Dense(4),
            LAYERS.Dropout(0.5),
            LAYERS.Dropout(0.0, name="never"),
            sequential(LAYERS.GaussianNoise(0.1, name="noise"), Always(name="always")),
            Jitter(name="jitter"),
        )
        assert seeded_layers(model) == ["dropout", "sequential/noise", "sequential/always", "jitter"]
        assert seeded_layers(attention()) == ["multi_head_attention/dropout"]
        assert seeded_layers(subclassed()) == ["dropout", "jitter", "sequential/alpha_dropout"]

    def test_what_never_draws_is_vectorised(self):
        model = sequential(LAYERS.Dropout(0.0), LAYERS.Dense(1))
        assert seeded_layers(model) == seeded_layers(ml.models.mlp()) == []
        assert not is_sequential(model)

    def test_what_cannot_be_switched_off_is_refused(self):
        with pytest.raises(
            ValueError, match=r"always of model .* draw random numbers also with training=False"
        ):
            require_silence(sequential(Always(name="always")))
        with pytest.raises(ValueError, match=r"around/norm of model .* leave training mode"):
            require_silence(sequential(Around(name="around")))


class Unseeded(keras.layers.Layer):
    """A layer that adds noise in training, without a generator of its own."""

    def __init__(self, draw):
        super().__init__(name="unseeded")
        self.draw = draw

    def call(self, inputs, training=False):
        return inputs + self.draw(keras.ops.shape(inputs)) if training else inputs


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (keras.random.normal, "assigns a variable that does not belong to it, .*keras.random.SeedGenerator"),
        (tf.random.normal, r"tf.random \(.*unseeded.*\), .*draw with keras.random"),
    ],
)
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_layers_without_a_generator_of_their_own_are_refused(draw, message, rate):
    """Alone they would not draw; beside dropout, noise is the same in all steps, or not reproducible."""
    layers = [Unseeded(draw), keras.layers.Dropout(rate), keras.layers.Dense(1)]
    with pytest.raises(ValueError, match=message):
        ml.MetaLearner(keras.Sequential([keras.Input([3]), *layers]), "mse", "sgd")


def test_threads_do_not_disable_each_other_s_layers():
    """A call with dropout in another thread is not affected by a call that disables it, nor the reverse."""
    others = []

    class Meanwhile(keras.layers.Layer):
        """Start the other call during the first one, and give it time to end."""

        def call(self, inputs):
            if others:
                other = others.pop()
                other.start()
                other.join(0.3)
            return inputs

    layers = [keras.layers.Dropout(0.5), Meanwhile(), keras.layers.Dropout(0.5)]
    model = keras.Sequential([keras.Input((100,)), *layers])
    inputs, found = tf.ones([2, 100]), []

    def call(noise):
        return ml.functional.call(model, {}, inputs, training=True, noise=noise)[0].numpy()

    noise = tf.constant([1, 2])
    expected = call(noise)
    thread = threading.Thread(target=lambda: found.append(call(noise)))
    others.append(thread)
    np.testing.assert_array_equal(call(None), inputs)
    thread.join()
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(call(noise), expected)

"""Models with wrong second derivatives: detection, replacement, and errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

LAYERS = keras.layers


def functional_model(dtype="float32"):
    """A model with every inexact layer: in a nested model, in wrappers, shared, as an activation."""
    nested = keras.Sequential(
        [
            keras.Input((4,)),
            LAYERS.Dense(4, "softsign"),
            LAYERS.LayerNormalization(),
            LAYERS.Activation("softsign"),
        ],
        name="nested",
    )
    shared = LAYERS.GroupNormalization(2, name="shared")
    inputs = keras.Input((4, 4, 2))
    x = LAYERS.Conv2D(4, 3, activation=tf.nn.softsign)(inputs)
    x = shared(LAYERS.BatchNormalization(epsilon=0.1)(x))
    x = LAYERS.UpSampling2D(interpolation="bilinear")(shared(x))
    x = LAYERS.Resizing(3, 2, interpolation="bicubic")(x)
    x = LAYERS.TimeDistributed(LAYERS.TimeDistributed(nested))(x)
    x = LAYERS.TimeDistributed(LAYERS.LayerNormalization())(LAYERS.Reshape((3, 8))(x))
    return keras.Model(inputs, LAYERS.LSTM(3, recurrent_activation="softsign")(x))


FOUND = [
    "conv2d (Conv2D, softsign)",
    "batch_normalization (BatchNormalization)",
    "shared (GroupNormalization)",
    "up_sampling2d (UpSampling2D)",
    "resizing (Resizing)",
    "time_distributed_1/time_distributed/nested/dense (Dense, softsign)",
    "time_distributed_1/time_distributed/nested/layer_normalization (LayerNormalization)",
    "time_distributed_1/time_distributed/nested/activation (Activation, softsign)",
    "time_distributed_2/layer_normalization_1 (LayerNormalization)",
    "lstm/lstm_cell (LSTMCell, softsign)",
]


def dense(*layers, size=3):
    return keras.Sequential([keras.Input((size,)), LAYERS.Dense(3, name="before"), *layers], name="model")


class Subclassed(keras.Model):
    """A model that creates a layer of Keras in its constructor."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norm = LAYERS.LayerNormalization(name="norm")

    def call(self, inputs):
        return self.norm(inputs)


class WithoutConfiguration(Subclassed):
    def __init__(self, width, **options):
        super().__init__(**options)
        self.width = width

    def get_config(self):
        raise NotImplementedError("no configuration")


@pytest.fixture
def model():
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = functional_model()
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, value.shape) for value in model.get_weights()])
    return model


def test_every_inexact_layer_is_found(model):
    assert ml.layers.inexact_layers(model) == FOUND


def test_an_exact_model_has_the_same_weights_keys_and_values(model):
    """The exact model has the same weights, keys and outputs; the given model is not changed."""
    before, x = model.get_weights(), np.random.default_rng(1).normal(size=(5, 4, 4, 2)).astype("float32")
    exact = ml.layers.exact(model)
    assert ml.layers.inexact_layers(exact) == []
    assert list(ml.functional.parameters(exact)) == list(ml.functional.parameters(model))
    assert list(ml.functional.state(exact)) == list(ml.functional.state(model))
    for value, expected in zip(exact.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)
    for training in (False, True):
        np.testing.assert_allclose(
            exact(x, training=training), model(x, training=training), rtol=0, atol=1e-5
        )
    exact.set_weights([0 * value for value in before])
    assert any(np.any(value) for value in model.get_weights())
    assert ml.layers.inexact_layers(model) == FOUND


def test_configuration_is_kept(model):
    layer = ml.layers.exact(model).get_layer("batch_normalization")
    assert type(layer) is ml.layers.BatchNormalization
    assert layer.epsilon == 0.1


def test_an_exact_model_is_returned_as_it_is():
    model = dense(
        LAYERS.BatchNormalization(trainable=False), LAYERS.RMSNormalization(), LAYERS.Activation("tanh")
    )
    assert ml.layers.inexact_layers(model) == []
    assert ml.layers.exact(model) is model


def test_layers_of_the_caller_are_kept():
    """Layers that Keras cannot find by name, and functions in Lambda layers, are kept."""

    class Doubled(LAYERS.Layer):
        def call(self, inputs):
            return 2 * inputs

    model = dense(Doubled(), LAYERS.Lambda(lambda x: x + 1), LAYERS.LayerNormalization())
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    np.testing.assert_allclose(ml.layers.exact(model)(x), model(x), rtol=0, atol=1e-5)


def subclassed(kind, *arguments):
    model = kind(*arguments, name="model")
    model(np.zeros((2, 3), "float32"))
    return model


def with_an_operation():
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.ops.softsign(LAYERS.Dense(3)(inputs)))


def with_a_layer_in_two_models():
    shared, inputs = LAYERS.Dense(3), keras.Input((3,))
    parts = [keras.Sequential([keras.Input((3,)), shared]) for _ in range(2)]
    return keras.Model(inputs, LAYERS.LayerNormalization(name="norm")(parts[1](parts[0](inputs))))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: subclassed(Subclassed),
            r"norm \(LayerNormalization\) cannot be .* use the layers of metalearn\.layers",
        ),
        (
            lambda: subclassed(WithoutConfiguration, 2),
            r"no configuration\): create norm \(LayerNorm.* with meta",
        ),
        (with_an_operation, r"softsign \(keras\.ops, Softsign\)"),
        (with_a_layer_in_two_models, r"share a layer: create norm \(LayerNormalization\) with metalearn"),
        (
            lambda: dense(LAYERS.SpectralNormalization(LAYERS.Dense(3))),
            "spectral_normalization.* no exact form",
        ),
        (
            lambda: dense(LAYERS.BatchNormalization(synchronized=True)),
            r"\(synchronized=True is not supported",
        ),
        (lambda: keras.Sequential([LAYERS.LayerNormalization()]), "is not built"),
    ],
)
def test_what_cannot_be_mended_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        ml.layers.exact(make())


@pytest.fixture
def model_and_tasks(sinusoids):
    model = keras.Sequential(
        [
            keras.Input((1,), dtype="float64"),
            LAYERS.Dense(4, "softsign", dtype="float64"),
            LAYERS.LayerNormalization(dtype="float64", name="norm"),
            LAYERS.GroupNormalization(2, dtype="float64", name="group_norm"),
            LAYERS.Dense(1, dtype="float64"),
        ]
    )
    return model, sinusoids


def learner(model, estimator):
    return ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.1), estimator=estimator, mapping="sequential")


def test_estimators_of_second_order_refuse_an_inexact_model(model_and_tasks):
    model, _ = model_and_tasks
    expected = r"norm \(LayerNormalization\), group_norm .*model = metalearn\.layers\.exact\(model\)"
    for estimator in (
        ml.estimators.checkpointed(),
        ml.estimators.unrolled(),
        ml.estimators.forward_mode(),
        ml.estimators.implicit(),
        ml.estimators.truncated(1),
    ):
        with pytest.raises(ValueError, match=expected):
            learner(model, estimator)


@pytest.mark.parametrize(
    "make",
    [
        ml.estimators.first_order,
        *(
            pytest.param(make, marks=pytest.mark.slow)
            for make in (
                ml.estimators.reptile,
                lambda: ml.estimators.truncated(0),
                lambda: ml.estimators.evolution(0.1, 1),
            )
        ),
    ],
)
def test_estimators_of_first_order_take_any_model(model_and_tasks, make):
    model, tasks = model_and_tasks
    taken = learner(model, make())
    result = taken.meta_gradient(taken.initialize(0), tasks)
    assert np.isfinite(result.loss).all()


def test_the_meta_gradient_of_an_exact_model_is_exact(model_and_tasks, in_graph):
    """The meta-gradient equals finite differences of the meta-loss, to 1e-6."""
    model, tasks = model_and_tasks
    model = ml.layers.exact(model)
    mixed = learner(model, ml.estimators.checkpointed())
    meta = mixed.initialize(1)  # at others a unit of the network switches within the differences
    gradient = in_graph(mixed.meta_gradient)(meta, tasks).gradient

    def meta_loss(meta):
        adapted = mixed.adapt(meta, tasks.support).parameters
        return tf.reduce_mean(mixed.losses(meta, tasks, ml.Inner(adapted))["outer/loss"])

    report = ml.derivatives.check_gradients(in_graph(meta_loss), meta, gradient, directions=2)
    assert report.passed(1e-6), report.worst

"""Max-pooling against Keras' values and, in derivatives, against differences; in every program."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution.task_map import map_tasks
from tests.often import mostly_slow

OPTIONS = [
    {},
    {"pool_size": (3, 2), "strides": (1, 2)},
    {"pool_size": 3, "strides": 2, "padding": "same"},
    {"pool_size": (2, 3), "padding": "same"},
    {"pool_size": 1, "strides": 3},
    {"pool_size": 2, "strides": 3, "padding": "same"},
]

IMAGES = np.random.default_rng(0).permutation(2 * 7 * 6 * 3).reshape(2, 7, 6, 3) / 50
"""No two entries are nearer than 0.02."""

V = tf.constant(np.random.default_rng(1).uniform(-1, 1, IMAGES.shape))


def bent(layer):
    """Return a scalar function of images that bends wherever the layer is not constant."""
    return lambda x: tf.reduce_sum(tf.sin(layer(x) * tf.range(1.0, 4.0, dtype=x.dtype)))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_values_and_shapes_are_those_of_keras(options, data_format):
    ours = ml.layers.MaxPooling2D(**options, data_format=data_format)
    outputs = ml.layers.MaxPooling2D(**options)(IMAGES.astype("float32"))
    np.testing.assert_array_equal(outputs, keras.layers.MaxPooling2D(**options)(IMAGES.astype("float32")))
    if data_format == "channels_first":
        moved = np.moveaxis(IMAGES, 3, 1).astype("float32")
        np.testing.assert_array_equal(np.moveaxis(ours(moved), 1, 3), outputs)
        assert ours.compute_output_shape(moved.shape) == (*np.moveaxis(outputs, 3, 1).shape,)
    else:
        assert ours.compute_output_shape(IMAGES.shape) == outputs.shape


@pytest.mark.parametrize("options", mostly_slow(OPTIONS[:3], OPTIONS[1]))
@pytest.mark.parametrize("jit", [False, True])
def test_hessian_vector_products_mapped_over_tasks_against_differences(options, jit):
    """Mapped Hessian-vector products equal differences to 1e-7, also under XLA."""
    function = bent(ml.layers.MaxPooling2D(**options, dtype="float64"))
    mapped = tf.function(
        lambda x: map_tasks(lambda x: ml.derivatives.hvp(function, x, V), x),
        jit_compile=jit,
        autograph=False,
    )
    x = tf.constant(IMAGES)
    expected, _ = ml.derivatives.central_differences(
        lambda x: ml.derivatives.value_and_gradient(function, x)[1], x, V
    )
    np.testing.assert_allclose(mapped(tf.stack([x, x]))[1], expected, rtol=0, atol=1e-7)


def near(layer):
    """Return the Hessian of ``y^2 / 2`` times WEIGHTS under XLA: that of the larger of two near entries."""
    function = tf.function(
        lambda x: ml.derivatives.hvp(lambda x: tf.reduce_sum(layer(x) ** 2) / 2, x, tf.constant(WEIGHTS)),
        jit_compile=True,
        autograph=False,
    )
    return np.ravel(function(tf.reshape(tf.constant([1.0, 1.001, 0.5, 0.2]), [1, 2, 2, 1])))


WEIGHTS = np.reshape([4, 3, 2, 1], [1, 2, 2, 1]).astype("float32")


def test_near_entries_are_told_apart_under_xla():
    """Near-equal entries are distinguished under XLA, unlike in Keras' layer.

    If the last line fails, TensorFlow has fixed it.
    """
    np.testing.assert_allclose(near(ml.layers.MaxPooling2D(2)), [0, 3, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(near(keras.layers.MaxPooling2D(2)), [0, 4, 0, 0], rtol=1e-6)


def test_of_equal_entries_one_has_the_derivative():
    layer = ml.layers.MaxPooling2D(3, 1, "same")
    _, gradient = ml.derivatives.vjp(layer, tf.zeros([1, 4, 4, 1]), tf.ones([1, 4, 4, 1]))
    assert float(tf.reduce_sum(gradient)) == 16


def test_models_are_saved_and_loaded(tmp_path):
    model = keras.Sequential([keras.Input((7, 6, 3)), ml.layers.MaxPooling2D(3, (2, 1), "same")])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].get_config() == model.layers[0].get_config()


def traced(layer, shape):
    return tf.function(layer, input_signature=[tf.TensorSpec(shape)]).get_concrete_function()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ml.layers.MaxPooling2D(0), "pool_size"),
        (lambda: ml.layers.MaxPooling2D((2, 2, 2)), r"pool_size must be an integer or two of them, got \(2"),
        (lambda: ml.layers.MaxPooling2D(padding="full"), "padding must be one of valid, same, got 'full'"),
        (lambda: ml.layers.MaxPooling2D(8)(IMAGES), r"pool_size=\(8, 8\) does not fit .* padding='same'"),
        (
            lambda: ml.layers.MaxPooling2D(4)(keras.Input((3, 4, 1))),
            r"does not fit into inputs .None, 3, 4, 1",
        ),
        (lambda: ml.layers.MaxPooling2D(data_format="NCHW"), "data_format must be one of .* got 'NCHW'"),
        (lambda: traced(ml.layers.MaxPooling2D(), (2, None, 6, 3)), "known height and width"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_exact_models_have_it():
    """``exact`` replaces Keras' layer, with the same arguments, although the layer is not inexact."""
    model = keras.Sequential([keras.Input((7, 6, 3)), keras.layers.MaxPooling2D(3, 2, "same", name="pool")])
    assert ml.layers.inexact_layers(model) == []
    exact = ml.layers.exact(model)
    assert type(exact.layers[0]) is ml.layers.MaxPooling2D
    np.testing.assert_array_equal(exact(IMAGES), model(IMAGES))
    assert ml.layers.exact(exact) is exact

"""Images of another size: Keras' values, and second derivatives that Keras' layers do not have."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

WAYS = ["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5", "area"]


def images(shape=(2, 4, 5, 3), dtype="float32"):
    return tf.constant(np.random.default_rng(0).normal(size=shape), dtype)


def product_and_differences(layer, x):
    v = tf.constant(np.random.default_rng(1).normal(size=x.shape), x.dtype)

    def function(x):
        return tf.reduce_sum(tf.sin(layer(x)))

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        return tape.gradient(value, x)

    return ml.derivatives.hvp(function, x, v), gradient, v


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_values_are_those_of_keras(way, data_format):
    for make in (
        lambda module: module.Resizing(3, 7, interpolation=way, data_format=data_format),
        lambda module: module.Resizing(2, 2, interpolation=way, data_format=data_format, antialias=True),
        lambda module: module.UpSampling2D((2, 3), interpolation=way, data_format=data_format),
    ):
        theirs, ours = make(keras.layers), make(ml.layers)
        assert ours.compute_output_shape((2, 4, 5, 3)) == theirs.compute_output_shape((2, 4, 5, 3))
        np.testing.assert_allclose(ours(images()), theirs(images()), rtol=0, atol=1e-5)


def test_one_image_without_a_batch():
    theirs, ours = (module.Resizing(3, 7) for module in (keras.layers, ml.layers))
    np.testing.assert_allclose(ours(images((4, 5, 3))), theirs(images((4, 5, 3))), rtol=0, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_second_derivatives_are_exact(way):
    for layer in (
        ml.layers.Resizing(3, 7, interpolation=way, dtype="float64"),
        ml.layers.UpSampling2D(interpolation=way, dtype="float64"),
    ):
        x = images(dtype="float64")
        product, gradient, v = product_and_differences(layer, x)
        expected, _ = ml.derivatives.central_differences(gradient, x, v)
        np.testing.assert_allclose(product, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_bilinear_resizing_of_keras_has_second_derivatives_of_zero():
    """Second derivatives of Keras' layers are 0. If this test fails, TensorFlow has fixed them."""
    product, gradient, v = product_and_differences(keras.layers.Resizing(3, 7), images())
    slope = gradient(images() + 0.01 * v) - gradient(images() - 0.01 * v)
    assert np.abs(slope).max() > 1e-3
    np.testing.assert_array_equal(product, 0)


@pytest.mark.parametrize("way", ["nearest", "bicubic", "lanczos3"])
def test_other_ways_of_keras_have_none(way):
    with pytest.raises(ValueError, match="has no derivative in TensorFlow"):
        product_and_differences(keras.layers.Resizing(3, 7, interpolation=way), images())


def test_mapped_and_compiled(with_xla):
    """A vectorised XLA program, in which the layer is called for the first time, agrees with eager mode."""
    layer = ml.layers.UpSampling2D(interpolation="bicubic")
    mapped = with_xla(lambda x: tf.vectorized_map(layer, x, fallback_to_while_loop=False))
    x = tf.stack([images(), 2 * images()])
    np.testing.assert_allclose(mapped(x)[1], layer(x[1]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", [lambda: ml.layers.Resizing(3, 7), lambda: ml.layers.UpSampling2D(3)])
def test_models_are_saved_and_loaded(make, tmp_path):
    model = keras.Sequential([keras.Input((4, 5, 3)), make()])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].get_config() == model.layers[0].get_config()
    np.testing.assert_array_equal(loaded(images()), model(images()))


def test_what_cannot_be_had_is_refused():
    for name in ("crop_to_aspect_ratio", "pad_to_aspect_ratio"):
        with pytest.raises(ValueError, match=f"{name}=True .* crop or pad in a separate layer"):
            ml.layers.Resizing(3, 3, **{name: True})
    with pytest.raises(ValueError, match=r"data_format must be one of .* got 'NHWC'"):
        ml.layers.UpSampling2D(data_format="NHWC")
    model = keras.Sequential([keras.Input((None, None, 3)), ml.layers.UpSampling2D()])
    with pytest.raises(ValueError, match="known height and width"):
        tf.function(model, input_signature=[tf.TensorSpec((2, None, None, 3))]).get_concrete_function()

"""Normalisation: Keras' values, names and files; second derivatives that Keras' layers do not have."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

CASES = [
    ("BatchNormalization", {}, (6, 4)),
    ("BatchNormalization", {"axis": 1, "epsilon": 1e-2, "momentum": 0.7}, (3, 4, 5)),
    ("BatchNormalization", {"center": False}, (3, 4, 4, 2)),
    ("BatchNormalization", {"scale": False, "axis": -2}, (3, 4, 2)),
    ("LayerNormalization", {}, (6, 4)),
    ("LayerNormalization", {"axis": [1, 2], "epsilon": 1e-2}, (3, 4, 5)),
    ("LayerNormalization", {"axis": 1, "center": False}, (3, 4, 5)),
    ("LayerNormalization", {"axis": (-2, -1), "scale": False}, (3, 4, 5)),
    ("GroupNormalization", {"groups": 2}, (3, 5, 4)),
    ("GroupNormalization", {"groups": 2, "axis": 1, "epsilon": 1e-2}, (3, 4, 5, 2)),
    ("GroupNormalization", {"groups": 1, "axis": -2, "scale": False}, (2, 3, 4, 2)),
    ("GroupNormalization", {"groups": -1, "center": False}, (3, 5, 5, 4)),
]
cases = pytest.mark.parametrize(
    ("kind", "options", "shape"), CASES, ids=[f"{kind}-{options}" for kind, options, _ in CASES]
)
one_of_each = pytest.mark.parametrize(("kind", "options", "shape"), [CASES[2], CASES[4], CASES[8]])


def inputs(shape, seed=0):
    return np.random.default_rng(seed).normal(0.5, 2.0, shape)


def both(kind, options, shape, dtype="float64", **more):
    """Return models with Keras' layer and that of this package, with the same random weights."""
    input_dtype = "float64" if dtype == "float64" else "float32"
    models = [
        keras.Sequential(
            [
                keras.Input(shape[1:], dtype=input_dtype),
                getattr(module, kind)(**options, dtype=dtype, **more),
            ]
        )
        for module in (keras.layers, ml.layers)
    ]
    weights = [np.random.default_rng(1).uniform(0.5, 1.5, value.shape) for value in models[0].get_weights()]
    for model in models:
        model.set_weights(weights)
    return models


def off_by(model, x, mode):
    """Return the errors of Hessian-vector products for inputs and weights, compared with differences."""
    state = ml.functional.state(model)
    point = {"inputs": tf.constant(x), **ml.functional.parameters(model)}

    def function(point):
        parameters = {key: value for key, value in point.items() if key != "inputs"}
        outputs = ml.functional.apply(model, parameters, point["inputs"], state=state, training=True)
        return tf.reduce_sum(tf.sin(outputs))

    random = np.random.default_rng(2)
    v = tf.nest.map_structure(lambda leaf: tf.constant(random.normal(size=leaf.shape)), point)
    expected, _ = ml.derivatives.central_differences(
        lambda point: ml.derivatives.value_and_gradient(function, point)[1], point, v
    )
    product = ml.derivatives.hvp(function, point, v, mode)
    distance = tf.linalg.global_norm([product[key] - expected[key] for key in expected])
    return float(distance / tf.linalg.global_norm(list(expected.values())))


@cases
@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-12), ("float32", 1e-5), ("mixed_float16", 4e-3)])
def test_values_are_those_of_keras(kind, options, shape, dtype, atol):
    """Outputs, types and moving statistics equal those of Keras' layer, in training and inference."""
    models = both(kind, options, shape, dtype)
    for training in (False, True, True):
        theirs, ours = (model(inputs(shape), training=training) for model in models)
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)
    for ours, theirs in zip(models[1].get_weights(), models[0].get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 if dtype != "float64" else 1e-12)


def test_large_numbers_in_half_precision_do_not_overflow():
    """Outputs of float16 inputs of 300, whose squares exceed its range, are finite."""
    for kind, options, shape in (CASES[0], CASES[4], CASES[8]):
        _, model = both(kind, options, shape, "float16")
        assert np.isfinite(model(300 * inputs(shape), training=True)).all()


def test_untrainable_batch_normalisation_uses_moving_statistics():
    theirs, ours = both(*CASES[0], trainable=False)
    before = ours.get_weights()
    x = inputs((6, 4))
    np.testing.assert_allclose(ours(x, training=True), theirs(x, training=True), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(ours.get_weights()[2], before[2])


def test_masked_examples_do_not_count():
    """Masked examples, also non-finite ones, affect neither outputs nor moving statistics, as in Keras."""
    theirs, ours = (module.BatchNormalization() for module in (keras.layers, ml.layers))
    x, mask = (
        inputs((4, 3, 2)).astype("float32"),
        np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 1]], bool),
    )
    expected = theirs(x, training=True, mask=mask)
    np.testing.assert_allclose(ours(x, training=True, mask=mask), expected, rtol=0, atol=1e-5)
    for ours_value, value in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(ours_value, value, rtol=0, atol=1e-6)
    x[~mask] = np.inf
    assert np.isfinite(ours(x, training=True, mask=mask).numpy()[mask]).all()
    with pytest.raises(ValueError, match=r"mask must have one axis less .* got \(4, 3, 2\)"):
        ours(x, training=True, mask=np.ones((4, 3, 2), bool))


@one_of_each
def test_masks_from_below_arrive(kind, options, shape):
    """The mask of a masking layer is passed on through the normalisation."""
    x = keras.Input((3, 4))
    layer = (
        getattr(ml.layers, kind)(**options)
        if kind != "BatchNormalization"
        else ml.layers.BatchNormalization()
    )
    outputs = layer(keras.layers.Masking()(x))
    assert outputs._keras_mask is not None


@cases
def test_weights_and_configuration_are_those_of_keras(kind, options, shape):
    theirs, ours = both(kind, options, shape)
    assert [(v.name, v.shape) for v in ours.variables] == [(v.name, v.shape) for v in theirs.variables]
    assert list(ml.functional.parameters(ours)) == list(ml.functional.parameters(theirs))
    mine, config = ours.layers[0].get_config(), theirs.layers[0].get_config()
    same = set(mine) - {"name", "axis", "groups", "dtype"}
    assert {key: mine[key] for key in same} == {key: config[key] for key in same}
    assert "axis" in mine
    options_of_keras = {"renorm", "renorm_clipping", "renorm_momentum", "synchronized", "rms_scaling"}
    assert set(config) - set(mine) <= options_of_keras
    again = type(ours.layers[0]).from_config(config)
    assert again.get_config() == {**mine, "axis": config["axis"], "name": config["name"]} | (
        {"groups": config["groups"]} if "groups" in config else {}
    )


@one_of_each
def test_names_are_automatic_as_in_keras(kind, options, shape):
    theirs, ours = (getattr(module, kind)() for module in (keras.layers, ml.layers))
    assert ours.name.rstrip("_0123456789") == theirs.name.rstrip("_0123456789")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, by NumPy 2.4
@one_of_each
def test_models_are_saved_and_loaded(kind, options, shape, tmp_path):
    _, model = both(kind, options, shape)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[0]) is getattr(ml.layers, kind)
    np.testing.assert_array_equal(loaded(inputs(shape)), model(inputs(shape)))


@cases
def test_second_derivatives_are_exact(kind, options, shape):
    """Second derivatives by inputs and weights in training mode equal differences, to 1e-6."""
    _, ours = both(kind, options, shape)
    assert off_by(ours, inputs(shape), "forward_over_reverse") < 1e-6


@one_of_each
def test_second_derivatives_by_reverse_mode_are_exact(kind, options, shape):
    _, ours = both(kind, options, shape)
    assert off_by(ours, inputs(shape), "reverse_over_reverse") < 1e-6


@one_of_each
def test_second_derivatives_of_keras_are_wrong(kind, options, shape):
    """Second derivatives of Keras' layers are wrong. If this test fails, TensorFlow has fixed them."""
    theirs, _ = both(kind, options, shape)
    assert off_by(theirs, inputs(shape), "forward_over_reverse") > 1e-4


def test_second_derivatives_with_a_mask_are_exact():
    x, mask = tf.constant(inputs((3, 2, 2))), tf.constant([[True, False], [True, True], [False, True]])
    layer = ml.layers.BatchNormalization(dtype="float64")
    layer.build(x.shape)

    def function(x):
        with keras.StatelessScope():
            return tf.reduce_sum(tf.sin(layer(x, training=True, mask=mask)))

    v = tf.constant(inputs((3, 2, 2), seed=1))
    expected, _ = ml.derivatives.central_differences(
        lambda x: ml.derivatives.value_and_gradient(function, x)[1], x, v
    )
    np.testing.assert_allclose(ml.derivatives.hvp(function, x, v), expected, rtol=0, atol=1e-8)


@one_of_each
def test_mapped_and_compiled_products_agree(kind, options, shape, with_xla):
    """One vectorised XLA program over tasks with different weights gives the product of each task."""
    _, model = both(kind, options, shape)
    parameters, state = ml.functional.parameters(model), ml.functional.state(model)
    tasks = tf.nest.map_structure(lambda leaf: tf.stack([leaf, 1.3 * leaf]), (inputs(shape), parameters))

    def product(x, parameters):
        def function(parameters):
            outputs = ml.functional.apply(model, parameters, x, state=state, training=True)
            return tf.reduce_sum(tf.sin(outputs))

        return ml.derivatives.hvp(function, parameters, parameters)

    mapped = with_xla(
        lambda *tasks: tf.vectorized_map(lambda task: product(*task), tasks, fallback_to_while_loop=False)
    )(*tasks)
    for index in range(2):
        expected = product(*tf.nest.map_structure(lambda leaf, index=index: leaf[index], tasks))
        for key, value in expected.items():
            np.testing.assert_allclose(mapped[key][index], value, rtol=0, atol=1e-10)


def test_channels_may_be_all_that_is_known_of_a_shape():
    """Outputs equal Keras' if only the number of channels is known when the graph is built."""
    model = keras.Sequential([keras.Input((None, 4)), ml.layers.GroupNormalization(2)])
    reference = keras.Sequential([keras.Input((None, 4)), keras.layers.GroupNormalization(2)])
    x = inputs((3, 5, 4)).astype("float32")
    graph = tf.function(model, input_signature=[tf.TensorSpec((None, None, 4))])
    np.testing.assert_allclose(graph(x), reference(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda layers: layers.BatchNormalization(renorm=True), "renorm=True .* omit it"),
        (lambda layers: layers.BatchNormalization(synchronized=True), "synchronized=True .* omit it"),
        (lambda layers: layers.LayerNormalization(rms_scaling=True), "rms_scaling=True .*RMSNormalization"),
        (lambda layers: layers.GroupNormalization(0), r"groups .* at least 1, got 0"),
        (lambda layers: layers.GroupNormalization(3).build((2, 5, 4)), "groups=3 does not divide the 4"),
        (lambda layers: layers.GroupNormalization(2).build((2, 5, None)), "does not divide the None"),
        (
            lambda layers: layers.BatchNormalization(axis=3).build((2, 5)),
            r"axis=3 is out of bounds .*\(2, 5\)",
        ),
        (
            lambda layers: layers.LayerNormalization(axis=[1, 2]).build((2, 5)),
            r"axis=\[1, 2\] is out of bounds",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(ml.layers)

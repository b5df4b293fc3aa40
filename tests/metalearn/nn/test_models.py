"""Models: shapes, keys and values."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


def test_mlp_defaults_are_the_sinusoid_regressor():
    """The default network 1-40-40-1 has 1761 parameters in float32, under these keys."""
    parameters = ml.functional.parameters(ml.models.mlp())
    assert {key: tuple(value.shape) for key, value in parameters.items()} == {
        "hidden_0/kernel": (1, 40),
        "hidden_0/bias": (40,),
        "hidden_1/kernel": (40, 40),
        "hidden_1/bias": (40,),
        "output/kernel": (40, 1),
        "output/bias": (1,),
    }
    assert sum(np.size(value) for value in parameters.values()) == 1761
    assert {value.dtype.name for value in parameters.values()} == {"float32"}


@pytest.mark.parametrize(("activation", "function"), [("relu", lambda x: x * (x > 0)), ("tanh", np.tanh)])
def test_mlp_computes_what_it_says(activation, function):
    """Outputs in float64 equal the formula in NumPy."""
    model = ml.models.mlp(2, (4, 3), 5, activation=activation, dtype="float64")
    random = np.random.default_rng(0)
    values = {key: random.normal(size=value.shape) for key, value in ml.functional.parameters(model).items()}
    inputs = random.normal(size=(7, 2))
    hidden = inputs
    for index in range(2):
        hidden = function(hidden @ values[f"hidden_{index}/kernel"] + values[f"hidden_{index}/bias"])
    expected = hidden @ values["output/kernel"] + values["output/bias"]
    outputs = ml.functional.apply(model, values, inputs)
    assert outputs.dtype == "float64"
    np.testing.assert_allclose(outputs, expected, rtol=1e-13, atol=1e-13)


def test_mlp_draws_glorot_uniform():
    """Weights fill ``+- sqrt(6 / (fan_in + fan_out))`` and have its variance; biases are zero."""
    parameters = ml.functional.initialize(ml.models.mlp(hidden=(100, 100)), seed=0)
    limit = np.sqrt(6 / 200)
    kernel = parameters["hidden_1/kernel"].numpy()
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    # The variance of U(-l, l) is l^2 / 3; that of its estimate from n draws is about (4/45) l^4 / n.
    assert abs(kernel.var() - limit**2 / 3) < 4 * limit**2 * np.sqrt(4 / 45 / kernel.size)
    assert all(not np.any(value) for key, value in parameters.items() if key.endswith("bias"))


def test_mlp_without_hidden_layers_is_linear():
    """With ``hidden=()``, the network has only the output layer."""
    assert list(ml.functional.parameters(ml.models.mlp(3, (), 2))) == ["output/kernel", "output/bias"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_size": 0}, "input_size must be an integer of at least 1, got 0"),
        ({"output_size": True}, "output_size must be an integer of at least 1, got True"),
        ({"hidden": (40, 0)}, r"hidden\[1\] must be an integer of at least 1, got 0"),
        ({"hidden": (2.5,)}, r"hidden\[0\] must be an integer of at least 1, got 2.5"),
    ],
)
def test_mlp_refuses_bad_sizes(arguments, message):
    """The message names the argument and its value."""
    with pytest.raises(ValueError, match=message):
        ml.models.mlp(**arguments)


def test_context_is_appended_to_every_input():
    """The network's inputs are ``[x, context]``, and the context starts at zero."""
    model = ml.models.context_mlp(2, (4,), 3, context=5, activation="tanh", dtype="float64")
    values = ml.functional.parameters(model)
    np.testing.assert_array_equal(values["context/context"], np.zeros(5))
    random = np.random.default_rng(0)
    values = {key: random.normal(size=value.shape) for key, value in values.items()}
    inputs = random.normal(size=(7, 2))
    joined = np.concatenate([inputs, np.tile(values["context/context"], (7, 1))], axis=1)
    hidden = np.tanh(joined @ values["hidden_0/kernel"] + values["hidden_0/bias"])
    expected = hidden @ values["output/kernel"] + values["output/bias"]
    np.testing.assert_allclose(ml.functional.apply(model, values, inputs), expected, rtol=1e-13)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of Keras, when it reads weights
def test_a_context_model_can_be_saved(tmp_path):
    model = ml.models.context_mlp(context=2)
    model.save(tmp_path / "model.keras")
    loaded = ml.functional.parameters(keras.models.load_model(tmp_path / "model.keras"))
    saved = ml.functional.parameters(model)
    assert list(loaded) == list(saved)
    for key, value in saved.items():
        np.testing.assert_array_equal(loaded[key], value)


@pytest.mark.parametrize("context", [0, -1, 1.5])
def test_context_needs_a_size(context):
    with pytest.raises(ValueError, match="context"):
        ml.models.context_mlp(context=context)


@pytest.mark.slow
def test_meta_gradients_of_mixed_precision_are_near(as_float64, as_vector):
    """In bfloat16, meta-gradients are in float32, with a relative error below 1e-2 and above 1e-5."""
    learner = ml.MetaLearner(ml.models.mlp(hidden=(10,), dtype="mixed_bfloat16"), "mse", "sgd", steps=1)
    assert [layer.compute_dtype for layer in learner.model.layers] == ["bfloat16", "float32"]
    meta, tasks = learner.initialize(0), ml.tasks.Sinusoid(10, 10).sample((0, 1), 5)
    found, exact = learner.meta_gradient(meta, tasks), learner.meta_gradient(*as_float64((meta, tasks)))
    assert {leaf.dtype for leaf in tf.nest.flatten((found.loss, found.gradient))} == {tf.float32}
    found, exact = as_vector(found.gradient), as_vector(exact.gradient)
    error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    assert 1e-5 < error < 1e-2

"""The dense layer: Keras' values, names and configuration, and derivatives of any order."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.nn.layers.dense import FEW_EXAMPLES, SMALL_KERNEL, product

MODES = ("forward_over_reverse", "reverse_over_reverse")


def both(shape=(None, 3), dtype="float64", **options):
    """Return two-layer models with Keras' layer and that of this package, with the same random weights."""
    models = [
        keras.Sequential(
            [
                keras.Input(shape[1:], dtype="float64" if dtype == "float64" else "float32"),
                module.Dense(5, "tanh", dtype=dtype, name="hidden", **options),
                module.Dense(2, dtype=dtype, name="output"),
            ]
        )
        for module in (keras.layers, ml.layers)
    ]
    weights = [np.random.default_rng(1).normal(size=value.shape) for value in models[0].get_weights()]
    for model in models:
        model.set_weights(weights)
    return models


def inputs(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize("options", [{}, {"use_bias": False}], ids=["bias", "no bias"])
@pytest.mark.parametrize("shape", [(1, 3), (7, 3), (40, 3), (4, 6, 3)], ids=str)
@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-13), ("float32", 1e-5), ("mixed_float16", 5e-3)])
def test_values_are_those_of_keras(options, shape, dtype, atol):
    """Outputs equal those of Keras' layer, for few and many examples and for inputs with more axes."""
    theirs, ours = (model(inputs(*shape)) for model in both((None, *shape[1:]), dtype, **options))
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


def test_models_are_those_of_keras():
    """Keys, initial values, penalties and configuration equal Keras'; a clone has the same outputs."""
    options = {
        "kernel_regularizer": keras.regularizers.L2(0.1),
        "bias_initializer": keras.initializers.RandomUniform(seed=3),
        "kernel_constraint": keras.constraints.MaxNorm(2.0),
        "activity_regularizer": keras.regularizers.L1(0.2),
    }
    theirs, ours = both(**options)
    assert list(ml.functional.parameters(ours)) == list(ml.functional.parameters(theirs))
    drawn = [ml.functional.initialize(model, 5) for model in (theirs, ours)]
    for key, value in drawn[0].items():
        np.testing.assert_array_equal(drawn[1][key], value)
    theirs(inputs(6, 3))
    ours(inputs(6, 3))
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-13)
    # Keras' own arguments that ours does not have are adapters and quantisation.
    expected = theirs.layers[0].get_config()
    left_out = {"lora_rank", "lora_alpha", "quantization_config"}
    found = ours.layers[0].get_config()
    assert found == {key: expected[key] for key in found}
    assert set(expected) - set(found) <= left_out
    again = keras.models.clone_model(ours)
    again.set_weights(ours.get_weights())
    assert type(again.layers[0]) is ml.layers.Dense
    np.testing.assert_array_equal(again(inputs(6, 3)), ours(inputs(6, 3)))


QUICK = [(MODES[0], "eager"), (MODES[1], "in_graph")]


@pytest.mark.parametrize(
    ("mode", "wrap"),
    [
        pytest.param(mode, wrap, marks=[] if (mode, wrap) in QUICK else pytest.mark.slow)
        for mode in MODES
        for wrap in ("eager", "in_graph", "with_xla")
    ],
)
def test_second_derivatives_are_those_of_keras(mode, wrap, request):
    """Second and fourth derivatives equal those of Keras' layer, to 1e-12."""
    wrapped = (lambda function: function) if wrap == "eager" else request.getfixturevalue(wrap)
    x = tf.constant(inputs(7, 3))

    def derivatives(model):
        point = {"x": x, **ml.functional.parameters(model)}
        random = np.random.default_rng(2)
        v = tf.nest.map_structure(lambda leaf: tf.constant(random.normal(size=leaf.shape)), point)

        def loss(point):
            of_model = {key: value for key, value in point.items() if key != "x"}
            return tf.reduce_sum(tf.sin(ml.functional.apply(model, of_model, point["x"])))

        def second(point):
            return ml.derivatives.hvp(loss, point, v, mode)

        def sum_of_second(point):
            return tf.add_n([tf.reduce_sum(tf.sin(leaf)) for leaf in second(point).values()])

        def fourth(point):
            return ml.derivatives.hvp(sum_of_second, point, v, "reverse_over_reverse")

        return wrapped(lambda point: (second(point), fourth(point)))(point)

    for theirs, ours in zip(*map(derivatives, both()), strict=True):
        for key, expected in theirs.items():
            scale = np.abs(expected).max()
            np.testing.assert_allclose(ours[key], expected, rtol=0, atol=1e-12 * scale, err_msg=key)


@pytest.mark.parametrize(
    ("examples", "kernel", "of_outer_products"),
    [
        (FEW_EXAMPLES, (1, 1), True),
        (FEW_EXAMPLES, (SMALL_KERNEL // 128, 128), True),
        (FEW_EXAMPLES + 1, (2, 3), False),
        (None, (2, 3), False),
        (4, (SMALL_KERNEL // 128 + 1, 128), False),
    ],
)
def test_way_depends_on_sizes(examples, kernel, of_outer_products):
    """Kernel gradients are matrix products if examples are many or unknown, else sums of outer products."""

    def gradient(x, weights):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value = product(x, weights)
        return tape.gradient(value, weights)

    traced = tf.function(gradient, autograph=False).get_concrete_function(
        tf.TensorSpec((examples, kernel[0])), tf.TensorSpec(kernel)
    )
    operations = [operation.type for operation in traced.graph.get_operations()]
    assert ("Sum" in operations) is of_outer_products


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="units must be an integer of at least 1, got 0"):
        ml.layers.Dense(0)
    with pytest.raises(ValueError, match="min_ndim=2"):
        ml.layers.Dense(2)(np.ones(3))

"""The four-block network, with and without a context: its shapes, its keys, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        # Kernels 3 x 3 of 1 or 3 channels and three times of F; biases, scales and shifts; the last layer.
        ({"filters": 64}, 9 * 64 + 3 * 9 * 64 * 64 + 4 * 3 * 64 + 64 * 5 + 5),
        (
            {"image": (84, 84, 3), "filters": 32, "reduce": "pool"},
            9 * 3 * 32 + 3 * 9 * 32 * 32 + 4 * 3 * 32 + 5 * 5 * 32 * 5 + 5,
        ),
    ],
)
def test_it_is_the_network_of_the_papers(options, parameters):
    """The network has the papers' 113,000 parameters for Omniglot and 32,901 for mini-ImageNet."""
    model = ml.models.conv4(**options)
    assert sum(value.shape.num_elements() for value in ml.functional.parameters(model).values()) == parameters
    assert model.output_shape == (None, 5)
    assert list(ml.functional.parameters(model))[:4] == [
        "conv_0/kernel",
        "conv_0/bias",
        "norm_0/gamma",
        "norm_0/beta",
    ]


def test_its_output_may_start_from_zero():
    """With ``output="zeros"``, the output layer is 0 in the model and in drawn parameters."""
    model = ml.models.conv4(filters=2, output="zeros")
    for values in (ml.functional.parameters(model), ml.functional.initialize(model, 3)):
        zero = {key for key, value in values.items() if not np.any(value)}
        assert {key for key in values if key.startswith("output/")} <= zero
        assert not zero & {f"conv_{block}/kernel" for block in range(4)}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ways": 1}, "ways"),
        ({"filters": 0}, "filters"),
        ({"reduce": "mean"}, "reduce must be one of stride, pool, got 'mean'"),
        ({"output": "ones"}, "output must be one of glorot_uniform, zeros, got 'ones'"),
        ({"image": (28, 28)}, "image must be height, width and channels"),
        ({"image": (15, 28, 1), "reduce": "pool"}, "smaller than 16 x 16"),
    ],
)
def test_what_cannot_be_is_refused(options, named):
    with pytest.raises(ValueError, match=named):
        ml.models.conv4(**options)


def modulated(seed=0, **options):
    """Return a small network with a context, and random values of its parameters in float64."""
    model = ml.models.context_conv4((8, 8, 1), 3, 4, context=5, dtype="float64", **options)
    random = np.random.default_rng(seed)
    values = ml.functional.parameters(model)
    return model, {key: tf.constant(random.normal(size=value.shape)) for key, value in values.items()}


def test_a_context_of_zeros_changes_nothing():
    """With a context and biases of zero, the network is conv4 with the same weights."""
    model, values = modulated()
    values |= {key: tf.zeros_like(values[key]) for key in values if key.endswith(("context", "_bias"))}
    plain = ml.models.conv4((8, 8, 1), 3, 4, dtype="float64")
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 1))
    shared = {key: values[key] for key in ml.functional.parameters(plain)}
    expected = ml.functional.apply(plain, shared, images)
    np.testing.assert_allclose(ml.functional.apply(model, values, images), expected, rtol=1e-13)


def test_the_context_scales_and_shifts_channels():
    """Scale and shift are linear in the context, by NumPy."""
    layer = modulated()[0].get_layer("film")
    random = np.random.default_rng(0)
    values = [random.normal(size=value.shape) for value in layer.get_weights()]
    layer.set_weights(values)
    of = dict(zip([weight.name for weight in layer.weights], values, strict=True))
    scale, shift = (of["context"] @ of[f"{name}_kernel"] + of[f"{name}_bias"] for name in ("scale", "shift"))
    images = random.normal(size=(2, 3, 3, 4))
    np.testing.assert_allclose(layer(images), images * (1 + scale) + shift, rtol=1e-13)


def without_kinks(model):
    """Return the network with softplus instead of ReLU, for finite differences."""
    return keras.models.clone_model(
        model,
        clone_function=lambda layer: (
            keras.layers.Activation("softplus", name=layer.name, dtype=layer.dtype)
            if isinstance(layer, keras.layers.ReLU)
            else type(layer).from_config(layer.get_config())
        ),
    )


def test_cavia_on_images_adapts_the_context_only():
    """Only ``film/context`` is adapted, from zero; its meta-gradient agrees with finite differences."""
    model = without_kinks(modulated()[0])
    rule = ml.rules.sgd(1.0)
    learner = ml.MetaLearner(model, "cross_entropy", rule, 2, adapted="context", statistics="batch")
    meta = learner.initialize(0)
    assert set(ml.functional.parameters(model)) - set(meta["parameters"]) == {"film/context"}
    images = (np.random.default_rng(2).random((4, 6, 8, 8, 1)) * 255).astype(np.uint8)
    drawn = ml.tasks.FewShot(images, ways=3, shots=1, queries=2).sample((0, 0), 2)
    tasks = tf.nest.map_structure(
        lambda leaf: tf.cast(leaf, tf.float64) if leaf.dtype.is_floating else leaf, drawn
    )
    assert ml.testing.check_gradients(learner, meta, tasks).passed(1e-6)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of Keras, when it reads weights
def test_a_network_with_a_context_can_be_saved(tmp_path):
    """A saved and loaded model has equal outputs."""
    model, _ = modulated()
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 1))
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(images), model(images))


def test_a_context_needs_a_size():
    with pytest.raises(ValueError, match="context must be an integer of at least 1, got 0"):
        ml.models.context_conv4(context=0)

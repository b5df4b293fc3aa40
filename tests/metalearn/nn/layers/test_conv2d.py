"""The convolution: Keras' values, names and configuration, and derivatives of every order."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.nn.layers.patches import Geometry, indices

ARGUMENTS = [
    {"kernel_size": size, "strides": strides, "padding": padding, "dilation_rate": dilation, "groups": groups}
    for size, padding, groups in itertools.product([3, (2, 3)], ["valid", "same"], [1, 2])
    for strides, dilation in [(1, 1), (2, 1), ((2, 3), 1), (1, (2, 1))]
]


def both(dtype="float64", **options):
    """Return Keras' convolution and that of this package for images 7 x 9, with the same random weights."""
    made = [
        module.Conv2D(6, activation="tanh", dtype=dtype, **options) for module in (keras.layers, ml.layers)
    ]
    random = np.random.default_rng(1)
    for layer in made:
        layer.build((None, 7, 9, 4))
    weights = [random.normal(size=weight.shape) for weight in made[0].get_weights()]
    for layer in made:
        layer.set_weights(weights)
    return made


def images(*shape):
    return tf.constant(np.random.default_rng(0).normal(size=shape or (2, 7, 9, 4)))


@pytest.mark.parametrize("options", ARGUMENTS, ids=lambda options: "-".join(map(str, options.values())))
def test_values_are_those_of_keras(options):
    theirs, ours = both(**options)
    x = images()
    np.testing.assert_allclose(ours(x), theirs(x), rtol=0, atol=1e-13)
    shape = (None, 7, 9, 4)
    assert ours.compute_output_shape(shape) == theirs.compute_output_shape(shape)


@pytest.mark.parametrize(
    ("options", "dtype", "atol"),
    [
        ({"use_bias": False}, "float32", 1e-5),
        ({"padding": "same", "strides": 2}, "mixed_float16", 2e-2),
    ],
)
def test_types_are_those_of_keras(options, dtype, atol):
    theirs, ours = (layer(tf.cast(images(), tf.float32)) for layer in both(dtype, kernel_size=3, **options))
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


def test_channels_may_come_first():
    """With ``channels_first``, which TensorFlow lacks on CPUs, outputs equal those of ``channels_last``."""
    _, last = both(kernel_size=3, padding="same")
    first = ml.layers.Conv2D(
        6, 3, padding="same", activation="tanh", data_format="channels_first", dtype="float64"
    )
    first.build((None, 4, 7, 9))
    first.set_weights(last.get_weights())
    x = images()
    found = first(tf.transpose(x, [0, 3, 1, 2]))
    assert first.compute_output_shape((None, 4, 7, 9)) == (None, *found.shape[1:])
    np.testing.assert_allclose(tf.transpose(found, [0, 2, 3, 1]), last(x), rtol=0, atol=1e-14)
    assert ml.layers.Conv2D(6, 3, data_format="Channels_First").data_format == first.data_format


def slope(function, along):
    """Return the derivative of a function of two tensors along a direction, as a function of them."""

    def at(x, kernel):
        with tf.GradientTape() as tape:
            tape.watch((x, kernel))
            y = function(x, kernel)
        gradient = tape.gradient(y, (x, kernel))
        return sum(tf.reduce_sum(a * b) for a, b in zip(gradient, along, strict=True))

    return at


@pytest.mark.parametrize("options", [ARGUMENTS[1], ARGUMENTS[11]], ids=str)
def test_derivatives_of_three_orders_are_those_of_keras(in_graph, options):
    """Derivatives by images and kernel of orders 1 to 3 equal those of Keras' layer, to 1e-12."""
    found = []
    for layer in both(**options):

        def value(x, kernel, layer=layer):
            with keras.StatelessScope([(layer.kernel, kernel)]):
                return tf.reduce_sum(tf.sin(layer(x)))

        point = images(), tf.convert_to_tensor(layer.kernel)
        along = images() / 2, tf.ones_like(point[1]) / 3
        orders = [slope(value, along)]
        for _ in range(2):
            orders.append(slope(orders[-1], along))
        program = in_graph(lambda *point, orders=orders: [order(*point) for order in orders])
        found.append(np.array(program(*point)))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)


@pytest.mark.parametrize("steps", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_meta_gradients_are_those_of_nested_tapes_through_keras(steps, in_graph):
    """Meta-gradients of conv4 equal those of nested tapes through Keras' layers, to 1e-10."""
    ours = ml.models.conv4((9, 9, 1), ways=3, filters=4, dtype="float64")
    theirs = keras.Sequential(
        [
            keras.Input((9, 9, 1), dtype="float64"),
            *(
                keras.layers.Conv2D.from_config(
                    {key: value for key, value in layer.get_config().items() if key != "activity_regularizer"}
                )
                if isinstance(layer, ml.layers.Conv2D)
                else type(layer).from_config(layer.get_config())
                for layer in ours.layers
            ),
        ]
    )
    random = np.random.default_rng(3)
    tasks = ml.Task(
        *(ml.Batch(random.random((2, 6, 9, 9, 1)), np.int32([[0, 0, 1, 1, 2, 2]] * 2)) for _ in "ab")
    )
    tasks = tf.nest.map_structure(tf.constant, tasks)
    found = []
    for model, estimator in ((ours, ml.estimators.checkpointed()), (theirs, ml.estimators.unrolled())):
        learner = ml.MetaLearner(
            model,
            ml.losses.cross_entropy,
            ml.rules.sgd(0.3),
            steps=steps,
            estimator=estimator,
            statistics="batch",
        )
        meta = learner.initialize(0)
        program = in_graph(lambda meta, learner=learner: learner.meta_gradient(meta, tasks).gradient)
        found.append(tf.nest.flatten(program(meta)))
    size = max(np.abs(leaf).max() for leaf in found[1])
    for left, right in zip(*found, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-10 * size)


def test_models_are_those_of_keras():
    """Keys, initial values, penalties and configuration equal Keras', and ``fast`` keeps the weights."""
    keras_layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras_layers.Conv2D(4, 3, padding="same", kernel_regularizer="l2", activation="relu"),
            keras_layers.MaxPooling2D(),
            keras.Sequential([keras.Input((4, 4, 4)), keras_layers.Conv2D(2, 3, groups=2)]),
            keras_layers.Flatten(),
            keras_layers.Dense(3),
        ]
    )
    faster = ml.layers.fast(model)
    kinds = [type(layer).__module__.partition(".")[0] for layer in faster._flatten_layers() if layer.weights]
    assert kinds.count("metalearn") == 3
    assert list(ml.functional.parameters(faster)) == list(ml.functional.parameters(model))
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype("float32")
    np.testing.assert_allclose(faster(x), model(x), rtol=0, atol=1e-5)
    np.testing.assert_allclose(faster.losses, model.losses, rtol=1e-6)
    for key, value in ml.functional.initialize(model, 5).items():
        np.testing.assert_array_equal(ml.functional.initialize(faster, 5)[key], value)
    again = type(faster).from_config(faster.get_config())
    assert [layer.get_config() for layer in again.layers] == [layer.get_config() for layer in faster.layers]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"filters": 0}, "filters"),
        ({"kernel_size": (3, 0)}, "kernel_size"),
        ({"padding": "full"}, "padding must be one of valid, same, got 'full'"),
        ({"kernel_size": 3.0}, "kernel_size must be an integer of at least 1, got 3.0"),
        ({"data_format": "NCHW"}, "data_format must be one of channels_last, channels_first, got 'NCHW'"),
        ({"groups": 4}, "filters=6 cannot be divided into groups=4"),
        ({"groups": 3}, "cannot divide the channels"),
        ({"kernel_size": 8}, "smaller than its filters"),
    ],
)
def test_what_cannot_be_is_refused(options, named):
    with pytest.raises(ValueError, match=named):
        ml.layers.Conv2D(**{"filters": 6, "kernel_size": 3, **options}).build((None, 7, 7, 4))


def test_sizes_have_to_be_known():
    with pytest.raises(ValueError, match="known height and width"):
        ml.layers.Conv2D(6, 3)(keras.Input((None, 7, 4)))


def test_the_maps_are_each_other_s_transpose():
    """The index arrays of the map and of its transpose describe the same matrix."""
    geometry = Geometry((5, 6), (3, 2), (2, 1), (1, 2), "same")
    pixels, entries = indices(geometry)
    dense = np.zeros((len(pixels), 5 * 6 + 1))
    dense[np.arange(len(pixels)), pixels] = 1
    transposed = np.zeros((5 * 6, len(pixels) + 1))
    for pixel, uses in enumerate(entries):
        np.add.at(transposed[pixel], uses, 1)
    np.testing.assert_array_equal(dense[:, :-1].T, transposed[:, :-1])

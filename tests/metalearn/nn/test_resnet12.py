"""The residual network: its parameters, its values against NumPy, its meta-gradient, and what it refuses."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

FILTERS = (64, 160, 320, 640)


def count(filters, channels, features, ways):
    """Return the number of parameters: a block has 9 c f + 2 9 f^2 + c f kernels, 4 scales and 4 shifts."""
    inputs = (channels, *filters[:-1])
    blocks = sum(10 * c * f + 18 * f * f + 8 * f for c, f in zip(inputs, filters, strict=True))
    return blocks + features * ways + ways


def parameters_of(model):
    return sum(value.shape.num_elements() for value in ml.functional.parameters(model).values())


def test_it_is_the_network_of_the_paper():
    """The blocks have 12.4 million parameters, and images of 84 x 84 have 16,000 features."""
    model = ml.models.resnet12()
    assert parameters_of(model) == count(FILTERS, 3, 16000, 5)
    assert model.layers[-1].input.shape == (None, 16000)
    assert model.output_shape == (None, 5)
    assert round(count(FILTERS, 3, 0, 0) / 1e6, 1) == 12.4


@pytest.fixture(scope="module")
def small():
    return ml.models.resnet12((9, 8, 2), 3, (2, 3), average=True, dtype="float64")


def convolved(x, kernel):
    """Return a convolution with zeros outside, pixel by pixel."""
    reach = kernel.shape[0] // 2
    padded = np.pad(x, [(0, 0), (reach, reach), (reach, reach), (0, 0)])
    y = np.zeros((*x.shape[:3], kernel.shape[3]))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            patch = padded[:, i : i + kernel.shape[0], j : j + kernel.shape[1]]
            y[:, i, j] = np.einsum("nijc,ijcf->nf", patch, kernel)
    return y


def by_numpy(values, x):
    """Return the outputs with batch statistics."""

    def normalised(x, name):
        y = convolved(x, values[f"conv_{name}/kernel"])
        scaled = (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + 1e-3)
        return scaled * values[f"norm_{name}/gamma"] + values[f"norm_{name}/beta"]

    def leaky(x):
        return np.where(x > 0, x, float(np.float32(0.1)) * x)  # TensorFlow keeps the slope in 32 bits

    for block in range(2):
        h = leaky(normalised(leaky(normalised(x, f"{block}a")), f"{block}b"))
        h = leaky(normalised(h, f"{block}c") + normalised(x, f"{block}_skip"))
        rows, columns = h.shape[1] // 2 * 2, h.shape[2] // 2 * 2
        h = h[:, :rows, :columns].reshape(len(h), rows // 2, 2, columns // 2, 2, -1)
        x = h.max((2, 4))
    return x.mean((1, 2)) @ values["output/kernel"] + values["output/bias"]


def test_values_are_those_of_numpy(small):
    """Outputs with batch statistics and random parameters equal those of NumPy, to 1e-12."""
    random = np.random.default_rng(0)
    values = {key: random.normal(size=value.shape) for key, value in ml.functional.parameters(small).items()}
    images = random.normal(size=(4, 9, 8, 2))
    outputs = ml.functional.apply(small, values, tf.constant(images), training=True)
    np.testing.assert_allclose(outputs, by_numpy(values, images), rtol=0, atol=1e-12)
    assert parameters_of(small) == count((2, 3), 2, 3, 3)


@pytest.mark.slow
def test_the_meta_gradient_is_that_of_nested_tapes(in_graph):
    """The meta-gradient through one step of a block equals that of nested tapes, to 1e-12."""
    small = ml.models.resnet12((4, 4, 1), 3, (2,), dtype="float64")
    random = np.random.default_rng(1)
    support, query = (tf.constant(random.normal(size=(6, 4, 4, 1))) for _ in range(2))
    targets = tf.constant([0, 1, 2, 0, 1, 2])
    learner = ml.MetaLearner(small, "cross_entropy", ml.rules.sgd(0.1), statistics="batch")
    meta = learner.initialize(0)
    batches = (ml.Batch(x[None], targets[None]) for x in (support, query))
    found = in_graph(learner.meta_gradient)(meta, ml.Task(*batches)).gradient["parameters"]
    classes = tf.one_hot(targets, 3, dtype="float64")

    def loss(parameters, images):
        logits = ml.functional.apply(small, parameters, images, training=True)
        return -tf.reduce_mean(tf.reduce_sum(classes * tf.nn.log_softmax(logits), 1))

    with tf.GradientTape() as outer:
        outer.watch(meta["parameters"])
        with tf.GradientTape() as inner:
            inner.watch(meta["parameters"])
            value = loss(meta["parameters"], support)
        gradient = inner.gradient(value, meta["parameters"])
        moved = {key: value - 0.1 * gradient[key] for key, value in meta["parameters"].items()}
        value = loss(moved, query)
    for key, expected in outer.gradient(value, meta["parameters"]).items():
        np.testing.assert_allclose(found[key], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ways": 1}, "ways"),
        ({"filters": 64}, "filters must be a list"),
        ({"filters": (4, 0)}, r"filters\[1\]"),
        ({"image": (84, 84)}, "image must be height, width and channels"),
        ({"image": (15, 28, 1)}, "smaller than 16 x 16: use fewer blocks"),
    ],
)
def test_what_cannot_be_is_refused(options, named):
    with pytest.raises(ValueError, match=named):
        ml.models.resnet12(**options)

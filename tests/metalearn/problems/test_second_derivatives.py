"""The check of derivatives: wrong ones are rejected, right ones pass, compared in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.problems import check_second_derivatives
from metalearn.problems.second_derivatives import WrongDerivativesError
from tests.often import mostly_slow

LAYERS = keras.layers


class Own(keras.Layer):
    """A layer that applies a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, inputs):
        return self.function(inputs)


class Subclassed(keras.Model):
    """A model that normalises in its call."""

    def __init__(self):
        super().__init__()
        self.first, self.last = LAYERS.Dense(6, activation="tanh"), LAYERS.Dense(1)

    def call(self, inputs):
        return self.last(normalised(self.first(inputs)))


def normalised(inputs):
    mean, variance = tf.nn.moments(inputs, [-1], keepdims=True)
    return (inputs - mean) / tf.sqrt(variance + 1e-3)


def by_hand(inputs):
    mean = tf.reduce_mean(inputs, -1, keepdims=True)
    variance = tf.reduce_mean(tf.square(inputs - mean), -1, keepdims=True)
    return (inputs - mean) / tf.sqrt(variance + 1e-3)


def keras_normalised(inputs):
    ones = tf.ones(6, inputs.dtype)
    return keras.ops.layer_normalization(inputs, gamma=ones, beta=0 * ones)


def in_single(inputs):
    """Compute in float32 for inputs of any type, as code often does unintentionally."""
    return tf.cast(tf.cast(inputs, tf.float32) * tf.constant([2.0] * 6), inputs.dtype)


def model_of(*layers, first=None):
    first = first or LAYERS.Dense(6, activation="tanh")
    return keras.Sequential([keras.Input((3,)), first, *layers, LAYERS.Flatten(), LAYERS.Dense(1)])


def zeros():
    return LAYERS.Dense(2, kernel_initializer="zeros")


def grid(function):
    return model_of(LAYERS.Reshape((2, 3, 1)), Own(function))


def loss_of_moments(targets, outputs):
    mean, variance = tf.nn.moments(outputs - targets, [0])
    return tf.reduce_mean(variance + mean**2)


WRONG = {
    "own layer": (lambda: model_of(Own(normalised)), r"tf.nn.moments at .*own.*: write the variance as"),
    "Lambda": (lambda: model_of(LAYERS.Lambda(normalised)), "tf.nn.moments at .*lambda"),
    "subclassed": (lambda: Subclassed(), "tf.nn.moments"),
    "layer_normalization": (lambda: model_of(Own(keras_normalised)), "tf.nn.moments"),
    "bilinear": (
        lambda: grid(lambda x: tf.image.resize(x**3, (4, 6))),
        "tf.image.resize at .*use metalearn.layers.Resizing",
    ),
    "prod": (
        lambda: model_of(Own(lambda x: tf.reduce_prod(x, -1)), first=zeros()),
        "tf.math.reduce_prod at .*where a factor is 0: multiply",
    ),
    "cumprod": (
        lambda: model_of(Own(lambda x: tf.math.cumprod(x, -1)), first=zeros()),
        "tf.math.cumprod at .*where a factor is 0: multiply",
    ),
    "in float32": (lambda: model_of(Own(normalised), Own(in_single)), "tf.nn.moments"),
}

RIGHT = {
    "dense": (lambda: model_of(), "float64"),
    "kinks": (
        lambda: model_of(LAYERS.Dense(40, activation="relu"), LAYERS.Dense(40, activation="relu")),
        "float64",
    ),
    "by hand": (lambda: model_of(Own(by_hand)), "float64"),
    "exact": (lambda: ml.layers.exact(model_of(LAYERS.LayerNormalization())), "float64"),
    "repeated": (lambda: model_of(LAYERS.Reshape((2, 3, 1)), LAYERS.UpSampling2D()), "float64"),
    "prod": (lambda: model_of(Own(lambda x: tf.reduce_prod(x, -1))), "float64"),
    "convolution": (
        lambda: model_of(LAYERS.Reshape((6, 1)), LAYERS.Conv1D(2, 3), LAYERS.MaxPooling1D()),
        "float64",
    ),
    "dropout": (lambda: model_of(LAYERS.Dropout(0.5)), "float64"),
    "in float32": (lambda: model_of(Own(in_single)), "float32"),
}


@pytest.fixture(scope="module")
def tasks():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(1, 5, 3)).astype("float32")
    batch = ml.Batch(tf.constant(inputs), tf.constant(np.sin(inputs[..., :1])))
    return ml.Task(batch, batch)


def checked(model, tasks, loss="mse"):
    keras.utils.set_random_seed(1)
    model = model()
    model(tasks.support.inputs[0])
    learner = ml.MetaLearner(model, loss, "sgd")
    return check_second_derivatives(learner.posed(learner.initialize(0), tasks, (0, 0)))


@pytest.mark.parametrize("name", mostly_slow(WRONG, "Lambda"))
def test_wrong_derivatives_are_refused(name, tasks):
    """The error names the operation with wrong derivatives in the graph, and the remedies."""
    model, message = WRONG[name]
    with pytest.raises(WrongDerivativesError, match=message) as refusal:
        checked(model, tasks)
    assert "estimator first_order" in str(refusal.value)
    assert "check_derivatives=False" in str(refusal.value)


def test_a_loss_of_one_s_own_is_a_part_of_it(tasks):
    with pytest.raises(WrongDerivativesError, match="second derivatives of the inner loss are wrong"):
        checked(model_of, tasks, loss_of_moments)


@pytest.mark.parametrize("name", mostly_slow(RIGHT, "dense", "kinks", "by hand", "convolution"))
def test_right_derivatives_pass(name, tasks):
    """Models with right derivatives pass, also near one of a hundred kinks, and if built in float32."""
    model, precision = RIGHT[name]
    found = checked(model, tasks)
    assert found.certain
    assert found.precision == precision
    assert found.error < (1e-7 if precision == "float64" else 2e-3)


def labelled(loss):
    """Return a learner of soft labels: phi enters the inner loss only through the targets."""
    inputs = tf.constant(np.random.default_rng(1).normal(size=(1, 5, 4)), tf.float32)

    problem = ml.BilevelProblem(
        start=lambda phi, task: {"w": tf.zeros((4, 3), phi["labels"].dtype)},
        inner_loss=lambda theta, phi, x, model: loss(tf.nn.softmax(phi["labels"]), x @ theta["w"]),
        outer_loss=lambda theta, phi, task, model: tf.reduce_sum(tf.square(task.query @ theta["w"] - 1)),
        rule="sgd",
        steps=2,
    )
    labels = tf.constant(np.random.default_rng(2).normal(size=(5, 3)), tf.float32)
    return ml.BilevelLearner(problem, "checkpointed", {"labels": labels}), ml.Task(inputs, inputs)


@pytest.mark.parametrize(
    "loss",
    [
        lambda targets, logits: tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits)),
        lambda targets, logits: tf.reduce_mean(
            keras.losses.categorical_crossentropy(targets, logits, from_logits=True)
        ),
        lambda targets, logits: keras.losses.CategoricalCrossentropy(from_logits=True)(targets, logits),
    ],
)
def test_learned_labels_need_a_loss_that_has_their_derivative(loss):
    """Losses whose derivative by targets TensorFlow computes as 0 are an error if labels are learned."""
    learner, tasks = labelled(loss)
    with pytest.raises(WrongDerivativesError, match=r"phi labels \(0 instead of .*losses.cross_entropy"):
        check_second_derivatives(learner.posed(learner.initialize(0), tasks, (0, 0)))


def test_the_loss_that_has_it():
    learner, tasks = labelled(ml.losses.cross_entropy)
    found = check_second_derivatives(learner.posed(learner.initialize(0), tasks, (0, 0)))
    assert found.error < 1e-7
    assert found.certain


@pytest.fixture(scope="module")
def source():
    return ml.tasks.from_arrays(
        [(np.random.default_rng(i).normal(size=(12, 3)), np.ones((12, 1))) for i in range(4)], 5, 5
    )


def trainer_of(model, source, estimator="checkpointed", **settings):
    learner = ml.MetaLearner(model, "mse", "sgd", estimator=estimator)
    return ml.MetaTrainer(learner, source, keras.optimizers.Adam(), **settings)


def test_a_trainer_refuses_at_construction(source):
    """A trainer checks derivatives, unless this is disabled or the estimator needs only first ones."""
    wrong = model_of(Own(normalised))
    with pytest.raises(WrongDerivativesError, match=r"tf.nn.moments"):
        trainer_of(wrong, source)
    assert trainer_of(wrong, source, check_derivatives=False).derivatives is None
    assert trainer_of(wrong, source, "first_order").derivatives is None


def test_a_trainer_says_what_it_found(source):
    found = trainer_of(model_of(), source).derivatives
    assert (found.precision, found.certain) == ("float64", True)
    assert found.error < 1e-7

"""Functions with known second derivatives, and random nested tensors as arguments."""

from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from tensorflow.python.framework import config as tensorflow_config

import metalearn as ml

SHAPES = st.sampled_from([(), (1,), (3,), (2, 3)])
STRUCTURES = st.recursive(
    SHAPES.map(lambda shape: {"shape": shape}),
    lambda children: st.one_of(
        st.dictionaries(st.text("abcxyz", min_size=1, max_size=3), children, min_size=1, max_size=3),
        st.lists(children, min_size=1, max_size=3),
        st.lists(children, min_size=1, max_size=3).map(tuple),
    ),
    max_leaves=5,
)


def _drawn(spec, rng):
    """Fill a structure of shapes with standard normal numbers."""
    if isinstance(spec, dict) and set(spec) == {"shape"}:
        return tf.constant(rng.standard_normal(spec["shape"]))
    if isinstance(spec, dict):
        return {key: _drawn(child, rng) for key, child in spec.items()}
    return type(spec)(_drawn(child, rng) for child in spec)


@contextmanager
def _graphs_optimized(value):
    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not value})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


@pytest.fixture(scope="module", autouse=True)
def graphs_as_traced():
    """Run graphs without optimisation, which takes longer than the execution of these tests.

    Whole programs are optimized in the tests of the training command.
    """
    with _graphs_optimized(False):
        yield


@pytest.fixture
def optimized():
    """Optimise graphs as usual, for tests of equal bits."""
    with _graphs_optimized(True):
        yield


@st.composite
def _points(draw):
    spec, seed = draw(STRUCTURES), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    return _drawn(spec, rng), _drawn(spec, rng)


@pytest.fixture(scope="session")
def points():
    """Return hypothesis' strategy for pairs of nested float64 tensors of the same structure."""
    return _points()


@pytest.fixture(scope="session")
def joined():
    """Return a function that concatenates a structure to one vector, independent of the package's."""
    return lambda x: tf.concat([tf.reshape(leaf, [-1]) for leaf in tf.nest.flatten(x)], 0)


class Cubic:
    """``0.5 z'A z + sum(c z^3) / 6`` of a vector z, and its derivatives by hand."""

    def __init__(self, size):
        rng = np.random.default_rng(size)
        matrix = rng.standard_normal((size, size))
        self.matrix, self.coefficients = (matrix + matrix.T) / 2, rng.standard_normal(size)

    def __call__(self, z):
        square = tf.tensordot(z, tf.linalg.matvec(self.matrix, z), 1)
        return square / 2 + tf.reduce_sum(self.coefficients * z**3) / 6

    def gradient(self, z):
        return self.matrix @ z + self.coefficients * z**2 / 2

    def hessian(self, z):
        return self.matrix + np.diag(self.coefficients * z)


@pytest.fixture(scope="session")
def cubic():
    """Return a function ``size -> Cubic``."""
    return Cubic


@pytest.fixture(scope="session")
def network():
    """Return the loss of a 2-4-1 tanh network on 6 examples as a function of its parameters, and those."""
    rng = np.random.default_rng(1)
    model = ml.models.mlp(2, (4,), 1, activation="tanh", dtype="float64")
    inputs, targets = tf.constant(rng.standard_normal((6, 2))), tf.constant(rng.standard_normal((6, 1)))
    parameters = {
        key: tf.constant(rng.standard_normal(value.shape))
        for key, value in ml.functional.parameters(model).items()
    }
    return lambda p: tf.reduce_mean((ml.functional.apply(model, p, inputs) - targets) ** 2), parameters


@pytest.fixture(scope="session")
def positive_definite():
    """Return a function to a random symmetric ``[size, size]`` matrix, eigenvalues 1 to 1 / condition."""

    def draw(size, condition, seed=0):
        basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
        return (basis * np.logspace(0, -np.log10(condition), size)) @ basis.T

    return draw


@pytest.fixture(scope="module", autouse=True)
def as_by_default():
    """Disable the determinism of operations, which commands in other tests enable for the process.

    With determinism, draws without a seed are errors, TensorFlow uses another softmax cross-entropy with
    right derivatives, and XLA has no gradient of max-pooling.
    """
    was_on = tensorflow_config.is_op_determinism_enabled()
    tensorflow_config.disable_op_determinism()
    yield
    if was_on:
        tensorflow_config.enable_op_determinism()

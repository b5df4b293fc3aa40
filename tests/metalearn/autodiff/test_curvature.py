"""Gauss-Newton products against dense matrices, and diagonals of Hessians against their expectation."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.autodiff import ggn, hessian, hessian_diagonal, hvp
from metalearn.autodiff.products import MODES

RNG = np.random.default_rng(3)
INPUTS = RNG.standard_normal((7, 3))
WEIGHTS = RNG.standard_normal((3, 4))
DIRECTION = RNG.standard_normal((3, 4))


def outputs_of(weights):
    """Return ``tanh(X W)``, ``[7, 4]``, of a nested weight matrix cut in two."""
    return {"outputs": tf.tanh(tf.constant(INPUTS) @ tf.concat([weights["left"], weights["right"][0]], 1))}


def cut(matrix):
    return {"left": tf.constant(matrix[:, :1]), "right": [tf.constant(matrix[:, 1:])]}


def joined(structure):
    return np.concatenate([structure["left"], structure["right"][0]], 1)


def dense_jacobian():
    """Return the derivative ``[7 * 4, 3 * 4]`` of ``tanh(X W)`` by hand."""
    slope = 1 - np.tanh(INPUTS @ WEIGHTS) ** 2
    jacobian = np.einsum("no,ni,op->noip", slope, INPUTS, np.eye(4))
    return jacobian.reshape(28, 12)


def squares(outputs):
    return tf.reduce_sum(tf.square(outputs["outputs"] - 0.3)) / 7


def cross_entropy(outputs):
    labels = tf.one_hot([0, 1, 2, 3, 0, 1, 2], 4, dtype=tf.float64)
    return -tf.reduce_sum(labels * tf.nn.log_softmax(outputs["outputs"])) / 7


def curvature_of_squares():
    return 2 / 7 * np.eye(28)


def curvature_of_cross_entropy():
    logits = np.tanh(INPUTS @ WEIGHTS)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    blocks = [np.diag(row) - np.outer(row, row) for row in p]
    curvature = np.zeros((7, 4, 7, 4))
    for index, block in enumerate(blocks):
        curvature[index, :, index, :] = block / 7
    return curvature.reshape(28, 28)


LOSSES = pytest.mark.parametrize(
    ("loss", "curvature"), [(squares, curvature_of_squares()), (cross_entropy, curvature_of_cross_entropy())]
)


@LOSSES
@pytest.mark.parametrize("run", [lambda f: f, lambda f: tf.function(f, autograph=False, jit_compile=True)])
def test_ggn_is_the_dense_product(loss, curvature, run):
    """The Gauss-Newton product equals ``J' H J v`` with J and H computed by hand in NumPy, to 1e-10."""
    jacobian = dense_jacobian()
    expected = jacobian.T @ curvature @ jacobian @ DIRECTION.ravel()
    product = run(lambda x, v: ggn(outputs_of, loss, x, v))(cut(WEIGHTS), cut(DIRECTION))
    np.testing.assert_allclose(joined(product).ravel(), expected, rtol=0, atol=1e-10)


@LOSSES
def test_ggn_is_positive_semi_definite_where_the_hessian_is_not(loss, curvature):
    units = np.eye(12).reshape(12, 3, 4)
    rows = [joined(ggn(outputs_of, loss, cut(WEIGHTS), cut(unit))).ravel() for unit in units]
    matrix = np.stack(rows)
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-14)
    assert np.linalg.eigvalsh(matrix).min() > -1e-14
    whole = hessian(lambda x: loss(outputs_of(x)), cut(3 * WEIGHTS))
    assert np.linalg.eigvalsh(whole).min() < -1e-4


def test_ggn_of_a_linear_function_is_the_hessian():
    """For outputs that are linear (here through a graph loop), the product equals that of the Hessian."""
    x, v = tf.constant(WEIGHTS), tf.constant(DIRECTION)

    def doubled(x):
        loop = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, 2 * y), (0, x), maximum_iterations=3)
        return tf.constant(INPUTS) @ loop[1]

    loss = lambda z: tf.reduce_sum(tf.exp(z / 8))  # noqa: E731
    product = tf.function(lambda: ggn(doubled, loss, x, v), autograph=False)()
    np.testing.assert_allclose(product, hvp(lambda x: loss(doubled(x)), x, v), rtol=1e-12)


def test_ggn_refuses():
    x = cut(WEIGHTS)
    with pytest.raises(ValueError, match="no gradient reaches right/0"):
        ggn(lambda x: x["left"], tf.reduce_sum, x, x)
    with pytest.raises(ValueError, match="no gradient reaches b"):
        ggn(lambda x: {"a": x, "b": x}, lambda y: tf.reduce_sum(y["a"]), x["left"], x["left"])
    with pytest.raises(ValueError, match="the output steps is int32"):
        ggn(
            lambda x: {"a": x, "steps": tf.constant(1)}, lambda y: tf.reduce_sum(y["a"]), x["left"], x["left"]
        )
    with pytest.raises(ValueError, match=r"a scalar, not the shape \(3, 1\)"):
        ggn(lambda x: x, lambda y: y, x["left"], x["left"])
    with pytest.raises(ValueError, match="v has float64"):
        ggn(outputs_of, squares, x, cut(WEIGHTS[:2]))
    with pytest.raises(KeyError, match="absent"):
        ggn(outputs_of, lambda y: y["absent"], x, x)


@pytest.mark.parametrize("mode", MODES)
def test_diagonal_is_exact_for_a_diagonal_hessian(mode):
    x = {"a": tf.constant([1.0, -2.0], tf.float64), "b": (tf.constant(0.5),)}
    found = hessian_diagonal(
        lambda x: tf.reduce_sum(x["a"] ** 3) + tf.cast(x["b"][0] ** 4, tf.float64),
        x,
        seed=(0, 1),
        samples=1,
        mode=mode,
    )
    tf.nest.assert_same_structure(found, x)
    np.testing.assert_allclose(found["a"], [6, -12], rtol=1e-14)
    np.testing.assert_allclose(found["b"][0], 3, rtol=1e-6)
    assert found["b"][0].dtype == tf.float32


def test_diagonal_is_unbiased(cubic):
    """The mean of 4000 samples is within 4 standard errors of the diagonal.

    The variance of a sample is ``sum_{j != i} H_ij^2``.
    """
    function, z = cubic(6), np.linspace(-1, 1, 6)
    dense = function.hessian(z)
    x = tf.constant(z)
    estimate = tf.function(
        lambda seed: hessian_diagonal(function, x, seed=seed, samples=4000), autograph=False
    )
    found = estimate(tf.constant([1, 2])).numpy()
    error = np.sqrt((np.square(dense).sum(1) - np.diag(dense) ** 2) / 4000)
    assert (np.abs(found - np.diag(dense)) < 4 * error).all()
    assert (np.abs(found - np.diag(dense)) > 0.001 * error).any()
    assert (estimate(tf.constant([1, 3])).numpy() != found).any()


def test_diagonal_is_a_pure_function_of_the_seed_in_every_mode_of_execution(network, with_xla, as_vector):
    loss, parameters = network
    estimate = lambda x: hessian_diagonal(loss, x, seed=(4, 5), samples=3)  # noqa: E731
    eager = estimate(parameters)
    for compiled in (tf.function(estimate, autograph=False), with_xla(estimate)):
        np.testing.assert_allclose(as_vector(compiled(parameters)), as_vector(eager), rtol=0, atol=1e-12)


def test_diagonal_refuses():
    with pytest.raises(ValueError, match="samples must be an integer of at least 1, got 0"):
        hessian_diagonal(tf.reduce_sum, tf.zeros(2), seed=(0, 0), samples=0)
    with pytest.raises(ValueError, match="mode must be one of"):
        hessian_diagonal(tf.reduce_sum, tf.zeros(2), seed=(0, 0), samples=1, mode="forward")
    with pytest.raises(ValueError, match="the tensor itself is int32"):
        hessian_diagonal(tf.reduce_sum, tf.constant([1]), seed=(0, 0), samples=1)


def test_both_are_exported():
    assert ml.autodiff.ggn is ggn
    assert ml.autodiff.hessian_diagonal is hessian_diagonal

"""Order of a meta-gradient, for given gradients."""

import numpy as np
import tensorflow as tf

import metalearn as ml


def nested(first, second):
    """Return gradients of two meta-parameters."""
    return {"parameters": {"w": tf.constant(first, tf.float64)}, "rule": tf.constant(second, tf.float64)}


def test_closed_form():
    """For g = (3, 0, 4), f = (3, 0, 0) and e = 2 g, all norms, cosines and errors are exact to 1e-15."""
    found = ml.diagnostics.order(nested([3, 0], [4]), nested([3, 0], [0]), nested([6, 0], [8]))
    expected = {
        "order/norm": 5,
        "order/first_order_norm": 3,
        "order/correction_norm": 4,
        "order/cosine": 0.6,
        "order/estimator_cosine": 1,
        "order/estimator_error": 1,
        "order/correction_norm/parameters/w": 0,
        "order/cosine/parameters/w": 1,
        "order/correction_norm/rule": 4,
        "order/cosine/rule": 0,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-15, atol=0, err_msg=name)


def test_the_published_example():
    """For the published quadratic after one step, norm and cosine equal NumPy's to 1e-12."""
    exact, first = np.array([0.225, 0.544, -0.552]), np.array([0.25, 0.68, -0.92])
    found = ml.diagnostics.order({"p": tf.constant(exact)}, {"p": tf.constant(first)}, {"p": exact})
    np.testing.assert_allclose(found["order/correction_norm"], np.linalg.norm(exact - first), rtol=1e-12)
    cosine = exact @ first / np.linalg.norm(exact) / np.linalg.norm(first)
    np.testing.assert_allclose(found["order/cosine/p"], cosine, rtol=1e-12)


def test_zero_and_not_finite():
    """Zero gradients have cosine and error 0, an estimate of zero an infinite error; NaN stays NaN."""
    zero, one = {"p": tf.zeros([2])}, {"p": tf.ones([2])}
    same = ml.diagnostics.order(zero, zero, zero)
    assert [float(same[f"order/{name}"]) for name in ("norm", "cosine", "estimator_error")] == [0, 0, 0]
    assert ml.diagnostics.order(zero, zero, one)["order/estimator_error"] == np.inf
    for value in (np.nan, np.inf):
        found = ml.diagnostics.order({"p": tf.constant([1.0, value])}, one, one)
        assert not any(np.isfinite(found[f"order/{name}"]) for name in ("norm", "cosine", "estimator_cosine"))


def test_squares_that_overflow():
    """Gradients of 1e30 and 1e-30 in float32 have the right norm and cosine, to 1e-6."""
    for size in (1e30, 1e-30):
        g, f = ({"p": tf.constant(size, tf.float32) * tf.constant(v)} for v in ([3.0, 4.0], [4.0, 3.0]))
        found = ml.diagnostics.order(g, f, g)
        np.testing.assert_allclose(found["order/norm"], 5 * size, rtol=1e-6)
        np.testing.assert_allclose(found["order/cosine"], 24 / 25, rtol=1e-6)

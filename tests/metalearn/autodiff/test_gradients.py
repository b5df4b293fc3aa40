"""First derivatives: exact, separate for every argument, and never silently missing."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn.autodiff import require_connected, value_and_gradient

A = tf.constant([1.0, -2.0], tf.float64)


def test_gradient_of_a_cubic(cubic):
    function, z = cubic(5), np.linspace(-1, 1, 5)
    value, gradient = value_and_gradient(function, tf.constant(z))
    np.testing.assert_allclose(value, z @ function.matrix @ z / 2 + function.coefficients @ z**3 / 6, 1e-13)
    np.testing.assert_allclose(gradient, function.gradient(z), rtol=1e-13, atol=1e-13)


def test_several_arguments_give_a_tuple():
    _, (to_x, to_y) = value_and_gradient(lambda x, y: tf.reduce_sum(x["a"] * y**2), {"a": A}, 3 * A)
    np.testing.assert_array_equal(to_x["a"], 9 * A**2)
    np.testing.assert_array_equal(to_y, 6 * A**2)


def test_one_tensor_twice_is_two_variables():
    _, gradient = value_and_gradient(lambda x: tf.reduce_sum(x["a"] * x["b"] ** 2), {"a": A, "b": A})
    np.testing.assert_array_equal(gradient["a"], A**2)
    np.testing.assert_array_equal(gradient["b"], 2 * A**2)


def test_what_is_captured_is_constant():
    _, gradient = value_and_gradient(lambda x: tf.reduce_sum(x * A), A)
    np.testing.assert_array_equal(gradient, A)


def test_a_lookup_has_a_dense_gradient():
    _, gradient = value_and_gradient(lambda x: tf.reduce_sum(tf.gather(x, [1, 1])), A)
    np.testing.assert_array_equal(tf.convert_to_tensor(gradient), [0, 2])
    assert isinstance(gradient, tf.Tensor)


def test_absent_gradients_are_named():
    with pytest.raises(ValueError, match="no gradient reaches b/0, c:"):
        value_and_gradient(
            lambda x: tf.reduce_sum(x["a"] + tf.stop_gradient(x["c"])), {"a": A, "b": (A,), "c": A}
        )
    with pytest.raises(ValueError, match="no gradient reaches the tensor itself"):
        value_and_gradient(lambda x: tf.constant(1.0), A)
    with pytest.raises(ValueError, match="b is int32"):
        value_and_gradient(lambda x: tf.reduce_sum(x["a"]), {"a": A, "b": tf.constant(1)})
    require_connected({"a": A}, {"a": A})

"""Finite differences: the accuracy of their error estimate, and detection of wrong gradients."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from metalearn.autodiff import central_differences, check_gradients, value_and_gradient

X = tf.constant([0.3, -0.8], tf.float64)
ONE = tf.constant(1.0, tf.float64)


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (tf.sin, np.cos(0.3)),
        (tf.exp, np.exp(0.3)),
        (lambda x: tf.math.log(x), 1 / 0.3),
        (lambda x: 1e6 * tf.cos(x), -1e6 * np.sin(0.3)),
        (lambda x: tf.exp(10 * x), 10 * np.exp(3)),
    ],
)
def test_error_is_small_and_known(function, derivative):
    value, error = central_differences(function, X[0], ONE)
    assert abs(value - derivative) <= error
    assert abs(value - derivative) <= 2e-11 * max(abs(derivative), function(X[0]))
    assert error <= 1e-7 * abs(derivative)


@settings(max_examples=40, deadline=None)
@given(st.floats(-2e-3, 2e-3).filter(lambda distance: distance != 0))
def test_error_covers_a_kink_anywhere_nearby(distance):
    value, error = central_differences(
        lambda x: tf.nn.relu(x) + tf.sin(x), tf.constant(distance, tf.float64), ONE
    )
    assert abs(value - (distance > 0) - np.cos(distance)) <= error


def test_directions_and_outputs_may_be_nested(cubic):
    function = cubic(5)
    z, v = np.linspace(-1, 1, 5), np.linspace(2, -1, 5)
    value, error = central_differences(
        lambda x: {"gradient": [value_and_gradient(lambda x: function(x["z"]), x)[1]["z"]], "z": x["z"]},
        {"z": tf.constant(z)},
        {"z": tf.constant(v)},
    )
    np.testing.assert_allclose(value["gradient"][0], function.hessian(z) @ v, rtol=0, atol=1e-11)
    np.testing.assert_allclose(value["z"], v, rtol=0, atol=1e-11)
    assert np.max(error["gradient"][0]) < 1e-10


def test_differences_compile(with_xla):
    run = with_xla(lambda x: central_differences(tf.sin, x, ONE))
    np.testing.assert_allclose(run(X[0])[0], np.cos(0.3), rtol=0, atol=1e-11)


def test_the_step_can_be_chosen():
    for epsilon in (1e-2, 1e-4):
        value, _ = central_differences(tf.sin, X[0], ONE, epsilon)
        np.testing.assert_allclose(value, np.cos(0.3), rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="epsilon must be a finite number above 0"):
        central_differences(tf.sin, X[0], ONE, 0.0)


def test_a_right_gradient_passes(network):
    loss, parameters = network
    report = check_gradients(tf.function(loss), parameters)
    assert report.passed(1e-9)
    assert max(report.error.values()) < 1e-10
    assert set(report.error) == set(parameters)


def test_a_wrong_factor_is_found_and_placed(network):
    loss, parameters = network
    loss = tf.function(loss)
    _, gradient = value_and_gradient(loss, parameters)
    wrong = gradient["hidden_0/kernel"].numpy()
    wrong[1, 2] *= 1.001
    report = check_gradients(loss, parameters, {**gradient, "hidden_0/kernel": tf.constant(wrong)})
    assert not report.passed(1e-6)
    assert report.worst.place == "hidden_0/kernel[1, 2]"
    assert report.worst.analytic == wrong[1, 2]
    np.testing.assert_allclose(report.worst.numeric, gradient["hidden_0/kernel"][1, 2], rtol=1e-9)
    assert report.error["output/bias"] < 1e-10
    assert report.passed(1e-2)


def test_a_cut_inside_a_normalisation_is_found():
    """A mean that is constant in a variance's gradient is detected as a wrong second derivative.

    This is the error of tf.nn.moments; the first differences still agree to 1e-9.
    """

    def normalised(x, cut):
        mean = tf.reduce_mean(x)
        variance = tf.reduce_mean((x - (tf.stop_gradient(mean) if cut else mean)) ** 3)
        return tf.reduce_sum(tf.sin(x) * (x - mean)) / (2 + variance)

    x = tf.constant([0.5, -1.0, 2.0], tf.float64)
    assert check_gradients(lambda x: normalised(x, False), x).passed(1e-9)
    report = check_gradients(lambda x: normalised(x, True), x)
    assert not report.passed(1e-3)
    assert report.difference_error[""] < 1e-9


def test_large_leaves_are_checked_along_random_directions():
    rng = np.random.default_rng(0)
    x = {"w": tf.constant(rng.standard_normal((20, 10))), "b": tf.constant(rng.standard_normal(3))}

    def function(x):
        return tf.reduce_sum(tf.sin(x["w"])) * tf.reduce_sum(x["b"] ** 2)

    _, gradient = value_and_gradient(function, x)
    wrong = gradient["w"].numpy()
    wrong[7, 3] += 0.1
    for options in ({}, {"directions": 4, "seed": 3}):
        assert check_gradients(function, x, gradient, **options).passed(1e-9)
        report = check_gradients(function, x, {**gradient, "w": tf.constant(wrong)}, **options)
        assert not report.passed(1e-6)
        assert report.worst.place.startswith("w, random direction ")
        assert report.error["b"] < 1e-9


def test_a_kink_is_blamed_on_the_function():
    report = check_gradients(lambda x: tf.reduce_sum(tf.nn.relu(x)), tf.constant([0.5, 0.0], tf.float64))
    assert not report.passed(1e-3)
    assert report.worst.place == "[1]"
    assert report.worst.analytic == 0
    np.testing.assert_allclose(report.worst.numeric, 0.5, rtol=1e-12)
    assert report.worst.difference_error >= report.worst.error
    smooth = check_gradients(lambda x: tf.reduce_sum(tf.nn.relu(x)), tf.constant([0.5, -0.5], tf.float64))
    assert smooth.passed(1e-11)


def test_agreement_at_a_kink_proves_nothing():
    report = check_gradients(tf.abs, tf.constant(0.0, tf.float64))
    assert report.worst.error == 0
    assert not report.passed(1e-3)


def test_zero_gradients_pass():
    assert check_gradients(lambda x: 0 * x + 3, X[0]).passed(1e-9)
    assert check_gradients(lambda x: x**2, 0 * X[0]).passed(1e-9)
    assert not check_gradients(lambda x: x**2, X[0], 0 * X[0]).passed(1e-3)


def test_not_a_number_fails():
    report = check_gradients(tf.reduce_sum, X, tf.constant([1.0, np.nan], tf.float64))
    assert not report.passed(1.0)
    assert report.worst.place == "[1]"


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"x has float32 at b.*use float64 throughout"):
        check_gradients(lambda x: x["a"][0], {"a": X, "b": tf.zeros(1)})
    with pytest.raises(ValueError, match="the function's value has float32"):
        check_gradients(lambda x: tf.reduce_sum(tf.cast(x, tf.float32)), X)
    with pytest.raises(ValueError, match="return a scalar"):
        check_gradients(tf.sin, X)
    with pytest.raises(ValueError, match="gradient has float64"):
        check_gradients(tf.reduce_sum, X, X[0])
    with pytest.raises(ValueError, match="directions must be"):
        check_gradients(tf.reduce_sum, X, directions=0)
    with pytest.raises(ValueError, match="direction has float64"):
        central_differences(tf.sin, X, X[0])
    with pytest.raises(ValueError, match="call it eagerly"):
        tf.function(lambda x: check_gradients(tf.reduce_sum, x), autograph=False)(X)

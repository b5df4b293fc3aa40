"""Normalisation in closed form: equal to the definition, derived automatically, to third order."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn.nn.layers.standardized import standardized

EPSILON = 1e-3


def defined(x, gamma, beta, axes, epsilon):
    """Return it as it is defined, for TensorFlow to derive."""
    centred = x - tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axes, keepdims=True)
    return gamma * centred / tf.sqrt(variance + epsilon) + beta


def derivatives(function, axes, arguments, weights):
    """Return the value of a function of the outputs, and gradients of gradients of it, to third order."""

    def scalar(gradients):
        return tf.add_n([tf.reduce_sum(w * g * tf.cos(g)) for w, g in zip(weights, gradients, strict=True)])

    with tf.GradientTape() as third:
        third.watch(arguments)
        with tf.GradientTape() as second:
            second.watch(arguments)
            with tf.GradientTape() as first:
                first.watch(arguments)
                value = tf.reduce_sum(tf.sin(1.3 * function(*arguments, axes, EPSILON)))
            gradients = first.gradient(value, arguments)
            of_gradients = scalar(gradients)
        seconds = second.gradient(of_gradients, arguments)
        of_seconds = scalar(seconds)
    return [value], gradients, seconds, third.gradient(of_seconds, arguments)


@pytest.mark.parametrize("axes", [(0, 1), (0,), (1, 2)])
def test_it_equals_the_definition_to_third_order(axes):
    """Values and three derivatives equal those of the definition, to 1e-12 of the largest entry."""
    random = np.random.default_rng(0)
    shape = [1 if axis in axes else size for axis, size in enumerate((3, 4, 5))]
    drawn = [random.normal(size=size) for size in [(3, 4, 5), shape, shape]]
    x, gamma, beta = map(tf.constant, drawn)
    arguments = (2.0 * x + 3.0, gamma, beta)
    weights = [tf.constant(random.normal(size=each.shape)) for each in arguments]
    ours = derivatives(standardized, axes, arguments, weights)
    expected = derivatives(defined, axes, arguments, weights)
    for order, (found, known) in enumerate(zip(ours, expected, strict=True)):
        for a, b in zip(found, known, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.max(np.abs(b)), err_msg=f"order {order}")


def test_it_keeps_its_accuracy_far_from_zero():
    """In float32 with a mean of 1000 standard deviations, the error is that of rounding the inputs."""
    x = 1000 + np.random.default_rng(1).normal(size=(50, 3))
    one, zero = tf.ones([1, 3]), tf.zeros([1, 3])
    found = standardized(tf.constant(x, tf.float32), one, zero, (0,), EPSILON)
    np.testing.assert_allclose(found, defined(tf.constant(x), 1.0, 0.0, (0,), EPSILON), atol=3e-4)

"""The optimizer that is a recurrent network: its steps against Keras' LSTM, and what it sees."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from metalearn import rules
from metalearn.testing import check_rule

SHAPES = {"kernel": (2, 3), "scale": ()}
UNITS, RATE, P = 3, 0.05, 4.0
SIZES = np.array([1.0, 0.02, 1e-3, 0.0, -0.5, -1e-5])


def gradients(step):
    """Return gradients on both sides of exp(-4), 0.018, and one that is 0."""
    return {
        "kernel": tf.constant(np.roll(SIZES, step).reshape(2, 3)),
        "scale": tf.constant(0.3 - step, tf.float64),
    }


def seen(gradient):
    """Return the inputs of the network for one number."""
    if abs(gradient) >= np.exp(-P):
        return np.log(abs(gradient)) / P, np.sign(gradient)
    return -1, np.exp(P) * gradient


def test_equals_kerass_lstm():
    """Four steps with random weights equal those of Keras' LSTM on each element's gradients."""
    random = np.random.default_rng(0)
    rule = rules.learned_rnn(RATE, units=UNITS, preprocessing=P)
    theta = {key: tf.constant(random.normal(size=shape)) for key, shape in SHAPES.items()}
    values = tf.nest.map_structure(
        lambda leaf: tf.constant(random.normal(size=leaf.shape)), rule.learnable(theta)
    )
    network = tf.nest.map_structure(lambda leaf: leaf.numpy(), values["network"])
    series = [
        [seen(number) for number in np.concatenate([np.ravel(each) for each in gradients(step).values()])]
        for step in range(4)
    ]
    columns = np.array(series).transpose(1, 0, 2)
    for layer in ("layer_0", "layer_1"):
        gates = keras.layers.LSTM(UNITS, return_sequences=True, dtype="float64")
        gates.build(columns.shape)
        # Keras has the gates in the order i, f, u, o.
        kernel, bias = network[layer]["kernel"], network[layer]["bias"][:, 0]
        order = np.concatenate([np.arange(UNITS) + UNITS * gate for gate in (0, 1, 3, 2)])
        given = columns.shape[-1]
        gates.set_weights([kernel[order, :given].T, kernel[order, given:].T, bias[order]])
        columns = gates(columns).numpy()
    changes = columns @ network["output"]["kernel"][0] + network["output"]["bias"][0]
    expected = np.concatenate([np.ravel(leaf) for leaf in theta.values()]) - RATE * changes.sum(1)
    state = rule.init(theta)
    for step in range(4):
        theta, state = rule.update(gradients(step), state, theta, values, step)
    found = np.concatenate([np.ravel(leaf) for leaf in theta.values()])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_it_stands_still_before_it_has_learned():
    rule = rules.learned_rnn(RATE)
    theta = {"a": tf.constant([1.0, 2.0])}
    moved, _ = rule.update({"a": tf.constant([3.0, 0.0])}, rule.init(theta), theta, rule.learnable(theta), 0)
    np.testing.assert_array_equal(moved["a"], theta["a"])


def test_conformance():
    parameters = {"kernel": tf.constant([[0.3, -0.7], [1.1, 0.4]])}
    check_rule(rules.learned_rnn(rules.learned(0.1, positive=True), units=2, layers=1), parameters)


@pytest.mark.parametrize(
    "arguments", [{"learning_rate": 0.0}, {"units": 0}, {"layers": 0}, {"preprocessing": -1.0}]
)
def test_what_is_out_of_range_is_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=name):
        rules.learned_rnn(**{"learning_rate": 0.1, **arguments})

"""The optimizer that is a network of features: its start as Adam, and its steps in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn import rules
from metalearn.testing import check_rule

SHAPES = {"filters": (2, 3, 4), "kernel": (2, 3), "bias": (3,), "scale": ()}
DECAYS, SECOND, SCALE, RATE, EPSILON = (0.9, 0.5), 0.99, 0.3, 0.05, 1e-6
TIMES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000)

RULE = rules.learned_mlp(
    RATE, hidden=(5, 4), decays=DECAYS, second_decay=SECOND, scale=SCALE, epsilon=EPSILON
)


def drawn(seed):
    random = np.random.default_rng(seed)
    return {key: tf.constant(random.normal(size=shape)) for key, shape in SHAPES.items()}


def moved(rule, values, steps):
    """Return the parameters after steps with new random gradients."""
    theta = drawn(0)
    state = rule.init(theta)
    for step in range(steps):
        theta, state = rule.update(drawn(1 + step), state, theta, values, step)
    return theta


def test_it_starts_as_adam():
    """On gradients far larger than epsilon, five steps equal those of Adam, to 1e-6.

    Epsilon is inside the root here.
    """
    adam = rules.adam(RATE, beta_1=0.9, beta_2=SECOND, epsilon=1e-12)
    rule = rules.learned_mlp(RATE, second_decay=SECOND, epsilon=1e-12)
    found, expected = moved(rule, rule.learnable(drawn(0)), 5), moved(adam, {}, 5)
    for key in SHAPES:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-6)


def in_numpy(weights, steps):
    """Return the parameters after steps, one element after the other."""
    theta = {key: leaf.numpy() for key, leaf in drawn(0).items()}
    for key, shape in SHAPES.items():
        momenta = [np.zeros(shape) for _ in DECAYS]
        square = np.zeros(shape)
        for step in range(steps):
            gradient = drawn(1 + step)[key].numpy()
            momenta = [decay * m + (1 - decay) * gradient for decay, m in zip(DECAYS, momenta, strict=True)]
            square = SECOND * square + (1 - SECOND) * gradient**2
            v = square / (1 - SECOND ** (step + 1))
            ms = [m / (1 - decay ** (step + 1)) for decay, m in zip(DECAYS, momenta, strict=True)]
            rows = columns = factored = v
            if len(shape) >= 2:
                # A moving mean of means is the mean of the moving mean.
                rows, columns = (v.mean(axis, keepdims=True) for axis in (-1, -2))
                factored = rows * columns / (rows.mean(-2, keepdims=True) + EPSILON)
                rows, columns = (np.broadcast_to(each, shape) for each in (rows, columns))
            inverse = 1 / np.sqrt(v + EPSILON)
            features = [gradient, theta[key], *ms, *(m * inverse for m in ms), inverse]
            features += [gradient / np.sqrt(factored + EPSILON)]
            features += [1 / np.sqrt(each + EPSILON) for each in (rows, columns)]
            features = [each / np.sqrt(np.mean(each**2) + 1e-5) for each in features]
            times = np.tanh((step + 1) / np.array(TIMES) - 1)
            after = np.empty(shape)
            for index in np.ndindex(*shape):
                given = np.array([each[index] for each in features])
                hidden = weights["layer_0"]["kernel"] @ given + weights["layer_0"]["bias"][:, 0]
                hidden = np.tanh(hidden + weights["time"] @ times)
                for layer in ("layer_1", "layer_2"):
                    answer = weights[layer]["kernel"] @ hidden + weights[layer]["bias"][:, 0]
                    hidden = np.tanh(answer)
                change = (ms[0] * inverse)[index] + SCALE * answer[0]
                after[index] = theta[key][index] - RATE * change * np.exp(SCALE * answer[1])
            theta[key] = after
    return theta


def test_equals_a_loop_over_elements_in_numpy():
    """With random weights, three steps of variables of rank 0 to 3 equal a loop in NumPy, to 1e-12."""
    random = np.random.default_rng(9)
    values = tf.nest.map_structure(
        lambda leaf: tf.constant(random.normal(size=leaf.shape)), RULE.learnable(drawn(0))
    )
    expected = in_numpy(tf.nest.map_structure(lambda leaf: leaf.numpy(), values["network"]), 3)
    found = moved(RULE, values, 3)
    for key in SHAPES:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-12, atol=1e-12)


def test_what_is_learned_does_not_depend_on_the_model():
    """The network has the same weights for all models, so that it can train models of other sizes."""
    small, large = RULE.learnable({"a": tf.zeros([2])}), RULE.learnable(drawn(0))
    tf.nest.map_structure(lambda one, other: np.testing.assert_array_equal(one, other), small, large)


def test_conformance():
    parameters = {"kernel": tf.constant([[0.3, -0.7], [1.1, 0.4]])}
    check_rule(rules.learned_mlp(rules.learned(0.1, positive=True), hidden=(3,), decays=(0.9,)), parameters)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate must be a finite number above 0"),
        ({"hidden": ()}, "hidden must be a list of at least one"),
        ({"hidden": (0,)}, "a width in hidden must be an integer of at least 1, got 0"),
        ({"decays": (0.9, 1.0)}, r"each of decays must be a finite number in \[0, 1\), got 1.0"),
        ({"second_decay": 1.0}, "second_decay"),
        ({"scale": 0.0}, "scale must be"),
        ({"epsilon": 0.0}, "epsilon must be"),
    ],
)
def test_what_is_out_of_range_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        rules.learned_mlp(**{"learning_rate": 0.1, **arguments})

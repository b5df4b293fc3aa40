"""ALFA: its start as gradient descent, its update in NumPy, and what is learned."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn import rules
from metalearn.testing import check_rule

SHAPES = {"output": (2, 3), "hidden": (4,)}


@pytest.fixture
def drawn():
    """Return parameters and gradients, float64."""
    random = np.random.default_rng(0)
    return tuple(
        {key: tf.constant(random.normal(size=shape)) for key, shape in SHAPES.items()} for _ in range(2)
    )


def test_it_starts_as_gradient_descent(drawn):
    parameters, gradients = drawn
    rule = rules.alfa(0.1)
    moved, _ = rule.update(gradients, rule.init(parameters), parameters, rule.learnable(parameters), 0)
    for key in parameters:
        np.testing.assert_allclose(moved[key], parameters[key] - 0.1 * gradients[key], rtol=1e-15)


def test_equals_a_network_in_numpy(drawn):
    """With random weights, the update equals that of the network in NumPy, to 1e-12.

    Inputs and outputs are in the order of the keys, rates before decays.
    """
    parameters, gradients = drawn
    rule = rules.alfa(0.1)
    random = np.random.default_rng(1)
    learned = tf.nest.map_structure(
        lambda leaf: tf.constant(0.5 * random.normal(size=leaf.shape)), rule.learnable(parameters)
    )
    moved, _ = rule.update(gradients, rule.init(parameters), parameters, learned, 0)
    keys = ["hidden", "output"]
    made = np.array([np.mean(of[key]) for of in (gradients, parameters) for key in keys])
    for layer in range(3):
        weights = learned["generator"][f"layer_{layer}"]
        made = made @ weights["kernel"].numpy() + weights["bias"].numpy()
        made = np.maximum(made, 0) if layer < 2 else made
    for index, key in enumerate(keys):
        rate, decay = made[index], made[2 + index]
        expected = (1 + decay) * parameters[key] - 0.1 * (1 + rate) * gradients[key]
        np.testing.assert_allclose(moved[key], expected, rtol=1e-12, atol=1e-12)
        assert abs(rate) > 1e-3
        assert abs(decay) > 1e-3


def test_the_rate_can_be_learned_too(drawn):
    rule = rules.alfa(rules.learned(0.1, per="variable", steps=2))
    learned = rule.learnable(drawn[0])
    assert set(learned) == {"learning_rate", "generator"}
    assert learned["learning_rate"]["output"].shape == (2,)
    with pytest.raises(ValueError, match="learning_rate"):
        rules.alfa(-1.0)


def test_conformance():
    check_rule(rules.alfa(rules.learned(0.1, per="variable", steps=2)))


def test_hypergradients(hypergradients, assert_right):
    """Meta-gradients through the rule equal finite differences."""
    found = hypergradients(
        {"alfa": rules.alfa(rules.learned(0.1, per="variable", steps=2))}, 3, ("checkpointed",)
    )
    assert_right(found["alfa"])

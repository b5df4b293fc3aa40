"""Meta-Curvature: the transform in NumPy, its start at the identity, and what is learned."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn import rules

SHAPES = {"kernel": (3, 2), "bias": (2,), "filters": (2, 2, 3), "scale": ()}


@pytest.fixture
def drawn():
    """Return parameters and gradients, float64."""
    random = np.random.default_rng(0)
    return tuple(
        {key: tf.constant(random.normal(size=shape)) for key, shape in SHAPES.items()} for _ in range(2)
    )


def test_it_starts_as_the_rule_alone(drawn):
    parameters, gradients = drawn
    rule, alone = rules.meta_curvature(rules.sgd(0.1)), rules.sgd(0.1)
    learned = rule.learnable(parameters)
    moved, _ = rule.update(gradients, rule.init(parameters), parameters, learned, 0)
    expected, _ = alone.update(gradients, {}, parameters, {}, 0)
    for key, value in expected.items():
        np.testing.assert_allclose(moved[key], value, rtol=0, atol=1e-15)


def test_equals_products_with_the_matrices(drawn):
    """The update is ``M_0 G M_1'`` for a matrix, and likewise along every axis of others, to 1e-12."""
    parameters, gradients = drawn
    rule = rules.meta_curvature(rules.sgd(1.0))
    random = np.random.default_rng(1)
    learned = tf.nest.map_structure(
        lambda leaf: tf.constant(random.normal(size=leaf.shape)), rule.learnable(parameters)
    )
    moved, _ = rule.update(gradients, rule.init(parameters), parameters, learned, 0)
    matrices = learned["curvature"]
    expected = {
        "kernel": matrices["kernel"]["axis_0"].numpy()
        @ gradients["kernel"].numpy()
        @ matrices["kernel"]["axis_1"].numpy().T,
        "bias": matrices["bias"]["axis_0"].numpy() * gradients["bias"].numpy(),
        "scale": matrices["scale"]["axis_0"].numpy() * gradients["scale"].numpy(),
        "filters": np.einsum(
            "ai,bj,ck,ijk->abc",
            *(matrices["filters"][f"axis_{axis}"].numpy() for axis in range(3)),
            gradients["filters"].numpy(),
        ),
    }
    for key, value in expected.items():
        np.testing.assert_allclose(parameters[key] - moved[key], value, rtol=1e-12, atol=1e-12)


def test_what_the_rule_learns_is_learned_still(drawn):
    parameters, _ = drawn
    rule = rules.meta_curvature(rules.sgd(rules.learned(0.1)))
    assert set(rule.learnable(parameters)) == {"learning_rate", "curvature"}
    with pytest.raises(ValueError, match="rule must be a metalearn rule"):
        rules.meta_curvature(0.1)


def test_two_have_matrices_of_their_own(drawn):
    """Nested transforms have their own matrices, and both are applied."""
    parameters = {"scale": drawn[0]["scale"]}
    rule = rules.meta_curvature(rules.meta_curvature(rules.sgd(1.0)))
    learned = rule.learnable(parameters)
    assert set(learned) == {"curvature", "curvature_2"}
    learned["curvature"]["scale"]["axis_0"] *= 2
    learned["curvature_2"]["scale"]["axis_0"] *= 3
    moved, _ = rule.update({"scale": drawn[1]["scale"]}, {}, parameters, learned, 0)
    np.testing.assert_allclose(moved["scale"], parameters["scale"] - 6 * drawn[1]["scale"], rtol=1e-12)


def test_hypergradients(hypergradients, assert_right):
    """Meta-gradients through the rule agree between estimators and differences."""
    found = hypergradients({"meta_curvature": rules.meta_curvature(rules.sgd(0.1))}, 3)
    assert_right(found["meta_curvature"])

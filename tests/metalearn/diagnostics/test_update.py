"""Sizes of updates, and learned hyperparameters as a rule uses them."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.rules import learned


def test_update_ratios(with_xla):
    """Ratios and rates equal hand-computed values to 1e-15, also for zero, unchanged and NaN parameters."""
    before = {"a": [3.0, 4.0], "b": [0.0, 0.0], "c": [0.0, 0.0], "d": [1.0, 1.0], "e": [1.0, 0.0]}
    after = {"a": [3.0, 4.5], "b": [0.0, 2.0], "c": [0.0, 0.0], "d": [1.0, 1.0], "e": [1.0, np.nan]}
    gradient = {"a": [0.0, 5.0], "b": [0.0, 0.0], "c": [0.0, 0.0], "d": [1.0, 2.0], "e": [1.0, 0.0]}
    found = with_xla(ml.diagnostics.update_ratios)(
        *(
            {"parameters": tf.nest.map_structure(tf.constant, {k: np.array(v) for k, v in meta.items()})}
            for meta in (before, after, gradient)
        )
    )
    ratios = {"a": 0.1, "b": 1, "c": 0, "d": 0, "e": np.nan}
    rates = {"a": 0.1, "b": np.inf, "c": 0, "d": 0, "e": np.nan}
    for kind, expected in (("ratio", ratios), ("rate", rates)):
        for key, value in expected.items():
            np.testing.assert_allclose(found.pop(f"update/{kind}/parameters/{key}"), value, rtol=1e-15)
    assert not found


def test_the_rate_of_plain_descent():
    """Gradient descent at 0.1 has the effective rate 0.1 for every variable, to 1e-12."""
    random = np.random.default_rng(0)
    before, gradient = ({"w": random.normal(size=(2, 3)), "v": random.normal(size=4)} for _ in range(2))
    after = {key: value - 0.1 * gradient[key] for key, value in before.items()}
    found = ml.diagnostics.update_ratios(
        *(tf.nest.map_structure(tf.constant, each) for each in (before, after, gradient))
    )
    for key, value in gradient.items():
        np.testing.assert_allclose(found[f"update/rate/{key}"], 0.1, rtol=1e-12)
        ratio = 0.1 * np.linalg.norm(value) / np.linalg.norm(before[key])
        np.testing.assert_allclose(found[f"update/ratio/{key}"], ratio, rtol=1e-12)


def learner_of(rule):
    """Return a learner of a line, in float64, and its phi."""
    learner = ml.MetaLearner(ml.models.mlp(2, (), 1, dtype="float64"), ml.losses.mse, rule)
    return learner, learner.initialize(0)


def expect(learned, name, values):
    """Compare a learned hyperparameter and its statistics with those of ``values``, to 1e-15."""
    np.testing.assert_allclose(learned[name], values, rtol=1e-15)
    statistics = ml.diagnostics.learned_statistics(learned)
    for statistic, of in (("mean", np.mean), ("minimum", np.min), ("maximum", np.max)):
        np.testing.assert_allclose(statistics[f"learned/{statistic}/{name}"], of(values), rtol=1e-15)
    assert len(statistics) == 3 * len(learned)


def test_learned_values_per_element(with_xla):
    """Rates for each element are reported after the exponential, also under XLA."""
    learner, meta = learner_of(ml.rules.sgd(learned(0.1, per="element", positive=True)))
    raw = np.array([[-1.0], [0.5]])
    meta["rule"]["learning_rate"]["output/kernel"] = tf.constant(raw)
    found = with_xla(lambda meta: ml.diagnostics.learned_values(learner, meta))(meta)
    assert len(found) == 2
    expect(found, "learning_rate/output/kernel", np.exp(raw))
    expect(found, "learning_rate/output/bias", [0.1])


def test_learned_values_per_step():
    """Values for each step are reported by variable, element or rule, with the exponential if it is used."""
    rule = ml.rules.momentum(
        learned(0.1, per="variable", steps=3), momentum=learned(0.5, steps=2, positive=True)
    )
    learner, meta = learner_of(rule)
    meta["rule"]["learning_rate"]["output/bias"] = tf.constant([0.1, -0.2, 0.3], tf.float64)
    meta["rule"]["momentum"] = tf.constant([-1.0, 0.0], tf.float64)
    found = ml.diagnostics.learned_values(learner, meta)
    assert len(found) == 2 * 3 + 2
    for step, value in enumerate((0.1, -0.2, 0.3)):
        expect(found, f"learning_rate/output/bias/{step}", value)
    for step, value in enumerate((-1.0, 0.0)):
        expect(found, f"momentum/{step}", np.exp(value))
    learner, meta = learner_of(ml.rules.sgd(learned(0.1, per="element", steps=2)))
    meta["rule"]["learning_rate"]["output/kernel"] = tf.constant([[[1.0], [2.0]], [[3.0], [5.0]]], tf.float64)
    found = ml.diagnostics.learned_values(learner, meta)
    expect(found, "learning_rate/output/kernel/0", [[1], [2]])
    expect(found, "learning_rate/output/kernel/1", [[3], [5]])


def test_learned_values_within_a_range():
    """A value within a range is reported as ``low + (high - low)

    (1 + exp(-h))``.
    """
    learner, meta = learner_of(ml.rules.momentum(0.1, learned(0.5, steps=2, within=(-1, 3))))
    raw = np.array([-0.7, 2.0])
    meta["rule"]["momentum"] = tf.constant(raw)
    found = ml.diagnostics.learned_values(learner, meta)
    assert set(found) == {"momentum/0", "momentum/1"}
    for step, value in enumerate(-1 + 4 / (1 + np.exp(-raw))):
        expect(found, f"momentum/{step}", value)


def test_steps_are_not_guessed_from_shapes():
    """A vector with two entries is one value for each step or for each element, as the rule declares."""
    raw = tf.constant([0.1, 0.2], tf.float64)
    for value, expected in (
        (learned(0.1, per="variable", steps=2), {"learning_rate/v/0", "learning_rate/v/1"}),
        (learned(0.1, per="element"), {"learning_rate/v"}),
    ):
        learner = SimpleNamespace(rule=ml.rules.sgd(value))
        found = ml.diagnostics.learned_values(learner, {"rule": {"learning_rate": {"v": raw}}})
        assert set(found) == expected


def test_a_rule_that_declares_nothing_has_its_values_as_they_are():
    """Learned values of a rule without declarations are reported unchanged, whatever their structure."""
    learner = SimpleNamespace(rule=SimpleNamespace())
    found = ml.diagnostics.learned_values(learner, {"rule": (tf.constant(1.0), {"b": tf.constant(2.0)})})
    assert {name: float(value) for name, value in found.items()} == {"0": 1, "1/b": 2}


@pytest.mark.parametrize("rule", [ml.rules.sgd(0.1), ml.rules.meta_curvature(ml.rules.sgd(0.1))])
def test_what_is_learned_has_values(rule):
    """A rule that learns no hyperparameters has no values; matrices start as identities, without steps."""
    found = ml.diagnostics.learned_values(*learner_of(rule))
    assert bool(found) == isinstance(rule, ml.rules.meta_curvature)
    if found:
        expect(found, "curvature/output/kernel/axis_0", np.eye(2))

"""Rates that a rule declares, and rules that declare nothing."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from metalearn import rules
from metalearn.rules import learned
from metalearn.rules.description import descent_rates_of, settings_of

PARAMETERS = {"kernel": tf.ones([2, 2]), "bias": tf.zeros([2])}


@pytest.mark.parametrize(
    ("rate", "shift", "step", "expected"),
    [
        (0.3, 0, 0, 0.3),
        (learned(0.3), 0.1, 0, 0.4),
        (learned(0.3, positive=True), np.log(2), 0, 0.6),
        (learned(0.3, within=(0.2, 0.4)), 1000, 0, 0.4),
        (learned(0.3, per="variable", steps=3), 0.1, 2, 0.4),
        (learned(0.3, per="element"), -0.5, 0, -0.2),
        (keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.3, 0.1]), 0, 0, 0.3),
        (keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.3, 0.1]), 0, 1, 0.1),
    ],
)
def test_rates_of_descent(rate, shift, step, expected):
    """The declared rate of every element is that of the step, to 1e-6; a common rate is one tensor."""
    rule = rules.sgd(rate)
    values = tf.nest.map_structure(lambda leaf: leaf + shift, rule.learnable(PARAMETERS))
    rates = rule.descent_rates(PARAMETERS, values, step)
    for key, leaf in PARAMETERS.items():
        np.testing.assert_allclose(
            tf.broadcast_to(rates[key], leaf.shape), np.full(leaf.shape, expected), rtol=1e-6
        )
    one_for_all = not isinstance(rate, rules.Learned) or rate.per == "scalar"
    assert (rates["kernel"] is rates["bias"]) == one_for_all


@pytest.mark.parametrize(
    "rule",
    [
        rules.momentum(0.1, 0.0),
        rules.adam(0.1),
        rules.weight_decay(rules.sgd(0.1), 1e-4),
        rules.clip_by_value(rules.sgd(0.1), 1e6),
        rules.clip_by_global_norm(rules.sgd(0.1), 1e6),
        rules.meta_curvature(rules.sgd(0.1)),
        rules.alfa(0.1),
        rules.kfo(0.1, adapted=False),
        SimpleNamespace(learnable=None, init=None, update=None),
    ],
)
def test_other_rules_have_none(rule):
    """Rules that are not plain descent declare no rates, also if they start as plain descent."""
    assert descent_rates_of(rule, PARAMETERS, {}, 0) is None


def test_settings_of_a_rule_that_declares_none():
    assert settings_of(SimpleNamespace()) == {}
    assert settings_of(rules.sgd(0.3)) == {"learning_rate": 0.3}

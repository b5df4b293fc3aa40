"""Rules asked what they do: rates of plain descent, and whether a hyperparameter is an exponential."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.diagnostics.probes import descent_rates, takes_exponential
from metalearn.rules import learned

PARAMETERS = {"kernel": tf.ones([2, 2]), "bias": tf.zeros([2])}


FIXED = {"rule", "initial_accumulator_value"}
"""Arguments of rules that cannot be learned."""


def rates_of(rule, shift=0.0):
    """Return the rates of a rule whose learned hyperparameters have been shifted."""
    now = tf.nest.map_structure(lambda leaf: leaf + shift, rule.hyperparameters(PARAMETERS))
    return descent_rates(rule, now, PARAMETERS)


@pytest.mark.parametrize(
    ("rate", "shift", "expected", "uniform"),
    [
        (0.3, 0, 0.3, True),
        (learned(0.3), 0.1, 0.4, True),
        (learned(0.3, positive=True), np.log(2), 0.6, True),
        (learned(0.3, per="variable", steps=3), 0.1, 0.4, False),
        (learned(0.3, per="element"), -0.5, -0.2, False),
        (keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.3, 0.1]), 0, 0.3, True),
    ],
)
def test_rates_of_descent(rate, shift, expected, uniform):
    """Those of the first step, of every element, to 1e-6 (float32); one rate or many."""
    found = rates_of(ml.rules.sgd(rate), shift)
    assert found.uniform is uniform
    for key, leaf in PARAMETERS.items():
        np.testing.assert_allclose(found.values[key], np.full(leaf.shape, expected), rtol=1e-6)


@pytest.mark.parametrize(
    "rule",
    [
        ml.rules.momentum(0.1, 0.0),
        ml.rules.adam(0.1),
        ml.rules.weight_decay(ml.rules.sgd(0.1), learned(0.0)),
        ml.rules.weight_decay(ml.rules.sgd(0.1), 1e-4),
        ml.rules.clip_by_value(ml.rules.sgd(0.1), 1e6),
        ml.rules.clip_by_global_norm(ml.rules.sgd(0.1), 1e6),
        ml.rules.meta_curvature(ml.rules.sgd(0.1)),
        ml.rules.alfa(0.1),
    ],
)
def test_other_rules_have_none(rule):
    """Also those that start as plain descent and may learn to be something else."""
    assert rates_of(rule) is None


def cases():
    """Return every rule with every hyperparameter learned, as it is and as an exponential."""
    for name in ml.rules.__all__:
        function = getattr(ml.rules, name)
        for argument, parameter in inspect.signature(function).parameters.items():
            default = parameter.default
            wraps = "rule" in inspect.signature(function).parameters
            if name != "learned" and argument not in FIXED and not isinstance(default, bool):
                yield name, argument, wraps


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize(("name", "argument", "wraps"), list(cases()))
def test_exponentials_are_told_apart(name, argument, wraps, positive):
    """Of every hyperparameter of every rule."""
    value = learned(0.5, positive=positive)
    rest = {"learning_rate": 0.1} if name == "alfa" and argument != "learning_rate" else {}
    wrapped = [ml.rules.momentum(0.1)] if wraps else []
    rule = getattr(ml.rules, name)(*wrapped, **{argument: value}, **rest)
    one = {"bias": PARAMETERS["bias"]}
    for learned_name in rule.hyperparameters(one):
        expected = positive and learned_name != "generator"
        assert takes_exponential(rule, learned_name, one) is expected


def test_other_things_learned_are_no_exponentials():
    """Matrices on gradients and the weights of a network that makes rates."""
    for rule, name in (
        (ml.rules.meta_curvature(ml.rules.sgd(0.1)), "curvature"),
        (ml.rules.alfa(0.1), "generator"),
    ):
        assert not takes_exponential(rule, name, PARAMETERS)

"""The conformance check of rules: right rules pass, and every violation is named."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from metalearn import rules
from metalearn.rules import learned
from metalearn.testing import check_rule

RATE = 0.25


def _descent(parameters, gradients, rate):
    return {key: parameters[key] - rate * gradients[key] for key in parameters}


def stranger(**changes):
    """Return gradient descent with a learned rate as three bare functions, some of them changed."""
    return SimpleNamespace(
        **{
            "learnable": lambda parameters: {"rate": tf.constant(RATE, _dtype(parameters))},
            "init": lambda parameters: (),
            "update": lambda gradients, state, parameters, values, step: (
                _descent(parameters, gradients, values["rate"]),
                state,
            ),
            **changes,
        }
    )


def _dtype(parameters):
    return next((leaf.dtype for leaf in parameters.values()), tf.float32)


@dataclasses.dataclass(frozen=True)
class Plain:
    """Gradient descent at a constant rate, as a user's dataclass."""

    rate: float = RATE
    notes: Any = ()

    def learnable(self, parameters):
        return {}

    def init(self, parameters):
        return {}

    def update(self, gradients, state, parameters, values, step):
        return _descent(parameters, gradients, tf.constant(self.rate, _dtype(parameters))), state


class Unprintable(Plain):
    """A rule whose repr cannot be evaluated."""

    def __repr__(self):
        return "Unprintable(rate=...)"


class Unequal(Plain):
    """A rule whose copies are not equal to it."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


@pytest.mark.parametrize(
    "rule",
    [
        stranger(),
        Plain(),
        rules.clip_by_value(Plain(), learned(0.5, within=(0, 1))),
        rules.meta_curvature(rules.momentum(learned(0.1), learned(0.9, within=(0, 1)))),
        pytest.param(rules.kfo(learned(0.1, "variable")), marks=pytest.mark.slow),
        pytest.param(
            rules.weight_decay(rules.clip_by_global_norm(rules.adam(0.1), 2.0), learned(0.1, "element")),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["three functions", "dataclass", "wrapped", "curvature", "kfo", "wrapped twice"],
)
def test_right_rules_pass(rule):
    check_rule(rule)


def test_parameters_may_be_given():
    check_rule(stranger(), {"w": tf.constant([1.0, -2.0])})


def _impure():
    count = iter(range(1000))
    return lambda gradients, state, parameters, values, step: (
        _descent(parameters, gradients, values["rate"] + 0.01 * next(count)),
        state,
    )


def _changing(gradients, state, parameters, values, step):
    moved = _descent(parameters, gradients, values["rate"])
    parameters.update(moved)
    return moved, state


def _unlike(function):
    """Return an update whose rate is ``function(values, gradient, step)``."""
    return lambda gradients, state, parameters, values, step: (
        {
            key: parameters[key] - function(values["rate"], gradients[key], step) * gradients[key]
            for key in parameters
        },
        state,
    )


@tf.custom_gradient
def _wrong_derivative(x):
    return tf.square(x), lambda upstream: 2.1 * x * upstream


WRONG = {
    "missing init": (SimpleNamespace(learnable=print, update=print), "missing init"),
    "learned integers": (
        stranger(learnable=lambda parameters: {"rate": tf.constant(1)}),
        "learnable returns floating-point tensors: rate",
    ),
    "names that vary": (
        stranger(
            learnable=lambda parameters: {key: tf.ones([], leaf.dtype) for key, leaf in parameters.items()}
        ),
        "same keys without parameters",
    ),
    "another type": (
        stranger(
            update=lambda g, s, p, v, k: ({key: tf.cast(leaf, tf.float64) for key, leaf in p.items()}, s)
        ),
        "keeps the type and shape of parameters: hidden/bias was .*float32",
    ),
    "a lost variable": (
        stranger(update=lambda g, s, p, v, k: ({"scale": p["scale"]}, s)),
        "update keeps parameters",
    ),
    "another state": (
        stranger(update=lambda g, s, p, v, k: (_descent(p, g, v["rate"]), (v["rate"],))),
        "update keeps the state",
    ),
    "hidden counter": (stranger(update=_impure()), "update is pure"),
    "random state": (
        stranger(
            init=lambda p: {key: tf.random.normal(leaf.shape, dtype=leaf.dtype) for key, leaf in p.items()}
        ),
        "init is pure",
    ),
    "changed arguments": (stranger(update=_changing), "leaves its arguments unchanged"),
    "unused value": (stranger(update=_unlike(lambda rate, g, k: RATE)), "no gradient reaches values/rate"),
    "cut tape": (
        stranger(update=_unlike(lambda rate, g, k: tf.stop_gradient(rate))),
        "no gradient reaches values/rate",
    ),
    "wrong derivative": (
        stranger(update=_unlike(lambda rate, g, k: _wrong_derivative(rate))),
        "derivatives equal central differences",
    ),
    "infinite slope": (
        stranger(
            update=lambda g, s, p, v, k: (
                {key: p[key] - v["rate"] * tf.sqrt(tf.square(g[key])) for key in p},
                s,
            )
        ),
        "derivatives are finite if all gradients are 0",
    ),
    "division by zero": (
        stranger(update=_unlike(lambda rate, g, k: rate / tf.norm(g))),
        "updates are finite if all gradients are 0",
    ),
    "tensor steps": (
        stranger(update=_unlike(lambda rate, g, k: rate * (2 if isinstance(k, int) else 1))),
        "steps that are tensors give",
    ),
    "false rates": (
        stranger(descent_rates=lambda p, v, k: dict.fromkeys(p, 2 * v["rate"])),
        "with the descent_rates r",
    ),
    "repr": (Unprintable(), "repr can be evaluated"),
    "equality": (Unequal(), "an equal copy is equal"),
    "hash": (Plain(notes=["a list"]), "has a hash"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rules_are_named(name):
    rule, message = WRONG[name]
    with pytest.raises(AssertionError, match=message):
        check_rule(rule)

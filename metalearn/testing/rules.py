"""Conformance check of inner update rules."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from metalearn import rules
from metalearn.autodiff import check_gradients, value_and_gradient
from metalearn.nest import names
from metalearn.rules.description import descent_rates_of
from metalearn.rules.lookup import METHODS
from metalearn.testing.requirements import check_record, hold, same_bits
from metalearn.types import Parameters, Rule, Structure

STEPS = 2
"""The number of inner steps: momentum has an effect only from the second on."""

TOLERANCE = 1e-6
"""Tolerance between a derivative and a difference, relative to the largest entry of its leaf."""

DISTANCE = 1e-4
"""The step of differences: small, because updates have a large curvature for a small learned epsilon."""

SHAPES = {"hidden/kernel": (2, 3), "hidden/bias": (3,), "scale": ()}
"""The scale of the parameters for the check."""

DIRECTIONS = 2
"""The number of random directions in every leaf; a wrong entry affects all of them."""


_hold = functools.partial(hold, "check_rule")


def check_rule(rule: Rule, parameters: Parameters | None = None) -> None:
    """Check that an object fulfils the contract of :class:`metalearn.types.Rule`.

    The following is checked for random gradients and random values near those of ``rule.learnable``:

    - it has the methods ``learnable``, ``init`` and ``update``, and the names of learned hyperparameters do
      not depend on the parameters;
    - ``init`` and ``update`` are pure: the same arguments give the same bits, and none is changed;
    - parameters and state keep their structure, shapes and types, in float64 and in float32;
    - the updates depend on all learned hyperparameters, parameters and gradients;
    - the derivatives of two updates with respect to these equal central differences in float64, to 1e-6;
    - updates for gradients of 0 and their derivatives are finite;
    - tensor steps and graphs give the same as Python steps;
    - if it declares ``descent_rates``, its update is ``theta - r * gradient``;
    - if it is a dataclass, a copy is equal with the same hash, and the evaluated ``repr`` is equal, if its
      class is in :mod:`metalearn.rules` or in the module that defines it.

    Args:
        rule: any object with the three methods.
        parameters: floating point, by key; a matrix, a vector and a scalar by default. Their values matter
            for rules with kinks, at which derivatives cannot be checked.

    Raises:
        AssertionError: naming the violated requirement.
    """
    missing = [name for name in METHODS if not callable(getattr(rule, name, None))]
    _hold(not missing, f"it has the methods {', '.join(METHODS)}; missing {', '.join(missing)}")
    random = np.random.default_rng(0)
    start = parameters or {key: tf.constant(random.normal(size=shape)) for key, shape in SHAPES.items()}
    for dtype in (tf.float32, tf.float64):
        theta = {key: tf.cast(leaf, dtype) for key, leaf in start.items()}
        gradients = [{key: _draw(random, leaf) for key, leaf in theta.items()} for _ in range(STEPS)]
        values = tf.nest.map_structure(lambda leaf: _near(random, leaf), _learnable(rule, theta))
        _check_purity(rule, gradients[0], theta, values)
        _check_structure(rule, gradients[0], theta, values)
        _check_zero_gradients(rule, gradients, theta, values)
        _check_steps(rule, gradients, theta, values)
    _check_derivatives(rule, gradients, theta, values)
    _check_descent_rates(rule, gradients[0], theta, values)
    if dataclasses.is_dataclass(rule):
        check_record("check_rule", rule, {name: getattr(rules, name) for name in rules.__all__})


def _check_structure(rule: Rule, gradients: Parameters, theta: Parameters, values: Structure) -> None:
    state = rule.init(theta)
    moved, after = rule.update(gradients, state, theta, values, 0)
    for what, before, now in (("parameters", theta, moved), ("the state", state, after)):
        _hold(names(before) == names(now), f"update keeps {what}: {names(before)} became {names(now)}")
        for name, one, other in zip(names(before), *map(tf.nest.flatten, (before, now)), strict=True):
            old, new = ((leaf.dtype.name, leaf.shape.as_list()) for leaf in (one, other))
            _hold(old == new, f"update keeps the type and shape of {what}: {name} was {old} and is {new}")


def _check_purity(rule: Rule, gradients: Parameters, theta: Parameters, values: Structure) -> None:
    state = rule.init(theta)
    given = gradients, state, theta, values
    before = tf.nest.map_structure(lambda leaf: leaf, given)
    first = rule.update(*given, 1)
    _hold(names(before) == names(given) and same_bits(before, given), "update leaves its arguments unchanged")
    second = rule.update(*given, 1)
    _hold(
        same_bits(first, second), "update is pure: a second call with the same arguments gives other values"
    )
    _hold(same_bits(state, rule.init(theta)), "init is pure: a second call gives another state")


def _check_zero_gradients(
    rule: Rule, gradients: list[Parameters], theta: Parameters, values: Structure
) -> None:
    zeros = tf.nest.map_structure(tf.zeros_like, gradients)
    with tf.GradientTape() as tape:
        tape.watch((zeros, theta, values))
        moved = _moved(rule, zeros, theta, values)[0]
    found = moved, tape.gradient(moved, (zeros, theta, values), unconnected_gradients="zero")
    for name, leaf in zip(names(found), tf.nest.flatten(found), strict=True):
        what = "derivatives" if name.startswith("1") else "updates"
        finite = bool(tf.reduce_all(tf.math.is_finite(leaf)))
        _hold(finite, f"{what} are finite if all gradients are 0: {name[2:]} is {leaf.numpy()}")


def _check_steps(rule: Rule, gradients: list[Parameters], theta: Parameters, values: Structure) -> None:
    tolerance = 1e-5 if next(iter(theta.values())).dtype == tf.float32 else 1e-12
    expected = tf.nest.flatten(_moved(rule, gradients, theta, values))
    in_graph = tf.function(lambda *given: _moved(rule, *given), autograph=False)
    for where, found in (
        ("steps that are tensors", _moved(rule, gradients, theta, values, tf.constant)),
        ("a graph", in_graph(gradients, theta, values)),
        ("a graph with steps that are tensors", in_graph(gradients, theta, values, tf.constant)),
    ):
        equal = all(
            np.allclose(*pair, rtol=tolerance, atol=tolerance)
            for pair in zip(expected, tf.nest.flatten(found), strict=True)
        )
        _hold(equal, f"{where} give the same as Python steps")


def _check_derivatives(rule: Rule, gradients: list[Parameters], theta: Parameters, values: Structure) -> None:
    random = np.random.default_rng(1)
    weights = {key: _draw(random, leaf) for key, leaf in theta.items()}

    def projected(given: dict[str, Structure]) -> tf.Tensor:
        moved, _ = _moved(rule, given["gradients"], given["parameters"], given["values"])
        return tf.add_n([tf.reduce_sum(weights[key] * leaf) for key, leaf in moved.items()])

    given = {"gradients": gradients, "parameters": theta, "values": values}
    try:
        _, gradient = value_and_gradient(projected, given)
    except ValueError as error:
        raise AssertionError(f"a rule's updates depend on all arguments, but {error}") from error
    report = check_gradients(
        tf.function(projected, autograph=False), given, gradient, directions=DIRECTIONS, epsilon=DISTANCE
    )
    _hold(report.passed(TOLERANCE), f"derivatives equal central differences, but {report.worst}")


def _check_descent_rates(rule: Rule, gradients: Parameters, theta: Parameters, values: Structure) -> None:
    rates = descent_rates_of(rule, theta, values, 0)
    if rates is None:
        return
    for scale in (1e-6, 1.0, 1e6):
        scaled = {key: scale * leaf for key, leaf in gradients.items()}
        moved, _ = rule.update(scaled, rule.init(theta), theta, values, 0)
        for key, leaf in theta.items():
            expected = leaf - rates[key] * scaled[key]
            equal = np.allclose(moved[key], expected, rtol=1e-12, atol=1e-12)
            _hold(equal, f"its update is theta - r * gradient with the descent_rates r: not for {key}")


def _learnable(rule: Rule, theta: Parameters) -> Structure:
    values = rule.learnable(theta)
    for name, leaf in zip(names(values), tf.nest.flatten(values), strict=True):
        floating = tf.is_tensor(leaf) and leaf.dtype.is_floating
        _hold(floating, f"learnable returns floating-point tensors: {name} is {leaf!r}")
    if isinstance(values, dict):
        without = list(rule.learnable({}))
        _hold(
            without == list(values),
            f"learnable has the same keys without parameters: {list(values)} became {without}",
        )
    return values


def _moved(
    rule: Rule,
    gradients: list[Parameters],
    theta: Parameters,
    values: Structure,
    as_step: Callable[[int], Any] = int,
) -> tuple[Parameters, Structure]:
    """Return the parameters and the state after one update for each of the gradients."""
    state = rule.init(theta)
    for step, each in enumerate(gradients):
        theta, state = rule.update(each, state, theta, values, as_step(step))
    return theta, state


def _near(random: np.random.Generator, leaf: tf.Tensor) -> tf.Tensor:
    """Return random values somewhat closer to 0 than a leaf's, and slightly above 0 where it is 0."""
    moved = tf.where(tf.equal(leaf, 0), tf.constant(0.01, leaf.dtype), leaf)
    return moved * tf.constant(random.uniform(0.9, 1, leaf.shape), leaf.dtype)


def _draw(random: np.random.Generator, like: tf.Tensor) -> tf.Tensor:
    return tf.constant(random.normal(size=like.shape), like.dtype)

"""What a rule says of itself when it is tried: it is a function, and keeps its constants to itself.

A rule tells which of its hyperparameters are learned, not what the others are, nor whether a learned one is
used as it is or through its exponential. It is pure, so it can be asked: given chosen gradients, weights and
hyperparameters, it answers with an update. Questions that decide what is computed at all are asked in
float64, outside of any graph that is being traced.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metalearn.types import Parameters, Rule, Structure


class Rates(NamedTuple):
    """The rates of plain gradient descent.

    Attributes:
        values: one for every element, as the parameters.
        uniform: whether all are one number, whatever has been learned.
    """

    values: Parameters
    uniform: bool


def descent_rates(rule: Rule, hyperparameters: Structure, parameters: Parameters) -> Rates | None:
    """Return the rates r of a rule whose first update is ``theta - r * gradient``, r of any shape.

    ::

        r = -update(gradient = 1, theta = 0)

    None for any other rule: one with a state (momentum, Adam), or that decays weights, clips gradients,
    mixes their elements, or makes its rates from them. That is found out by trying: gradients from 1e-6 to
    1e12, random weights, and random values of what is learned.

    Args:
        rule: any rule.
        hyperparameters: as ``rule.update`` takes them.
        parameters: those of one task; only their shapes and types are used.
    """
    with tf.init_scope():
        answers = _first_rates(rule, parameters)
    if answers is None:
        return None
    zeros = {key: tf.zeros(leaf.shape, leaf.dtype) for key, leaf in parameters.items()}
    moved, _ = rule.update(
        tf.nest.map_structure(tf.ones_like, zeros), rule.init(zeros), zeros, hyperparameters, 0
    )
    return Rates(tf.nest.map_structure(tf.negative, moved), uniform=bool(np.ptp(answers) == 0))


def takes_exponential(rule: Rule, name: str, parameters: Parameters) -> bool:
    """Say whether a rule uses the exponential of a learned hyperparameter, as ``positive=True`` asks.

    The exponential of any number below -750 is 0 and of any above 710 infinite: so -1000 gives what -2000
    does, to the bit, and 1000 what 2000 does. Two steps are compared with all that the rule keeps of them,
    as momentum shows in the second only.

    Args:
        rule: any rule.
        name: of the hyperparameter in ``rule.hyperparameters(parameters)``.
        parameters: those of one task; only their shapes are used.
    """

    def answer(number: float) -> list[np.ndarray]:
        random, learned = _random(), _hyperparameters(rule, parameters)
        group = tf.nest.map_structure(lambda leaf: tf.fill(leaf.shape, _float64(number)), learned[name])
        theta = _draw(random, parameters)
        inner, kept = (theta, rule.init(theta)), []
        for step in range(2):
            # Long, so that limits on their length show.
            gradients = tf.nest.map_structure(lambda leaf: 1e6 * leaf, _draw(random, parameters))
            inner = rule.update(gradients, inner[1], inner[0], {**learned, name: group}, step)
            kept += [leaf.numpy() for leaf in tf.nest.flatten(inner)]
        return kept

    with tf.init_scope():
        low = answer(-1000)
        is_constant_below = _same(low, answer(-2000))
        return is_constant_below and _same(answer(1000), answer(2000)) and not _same(low, answer(0))


def _first_rates(rule: Rule, parameters: Parameters) -> np.ndarray | None:
    """Return the rates ``[P]`` for random hyperparameters; None if the rule is not plain descent."""
    random = _random()
    learned, theta = _hyperparameters(rule, parameters), _draw(random, parameters)
    state = rule.init(theta)
    if tf.nest.flatten(state):
        return None

    def moved(gradients: Parameters, theta: Parameters) -> np.ndarray:
        after, _ = rule.update(gradients, state, theta, learned, 0)
        return _joined({key: after[key] for key in theta})

    zeros = tf.nest.map_structure(tf.zeros_like, theta)
    rates = -moved(tf.nest.map_structure(tf.ones_like, theta), zeros)
    start, direction = _joined(theta), _draw(random, parameters)
    for scale in (0.0, 1e-6, 1.0, 1e12):
        gradients = tf.nest.map_structure(lambda leaf, scale=scale: scale * leaf, direction)
        step = rates * _joined(gradients)
        if not np.allclose(moved(gradients, theta), start - step, rtol=1e-9, atol=1e-12):
            return None
    return rates


def _same(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other, equal_nan=True) for one, other in zip(left, right, strict=True))


def _random() -> np.random.Generator:
    return np.random.default_rng(0)


def _float64(value: float | np.ndarray) -> tf.Tensor:
    return tf.constant(value, tf.float64)


def _draw(random: np.random.Generator, parameters: Parameters) -> Parameters:
    return {key: _float64(random.normal(size=leaf.shape)) for key, leaf in parameters.items()}


def _hyperparameters(rule: Rule, parameters: Parameters) -> Structure:
    """Return initial values of what is learned, moved at random: what starts equal need not stay so."""
    random = _random()
    initial = rule.hyperparameters(_draw(random, parameters))
    return tf.nest.map_structure(
        lambda leaf: leaf + tf.cast(random.normal(scale=0.1, size=leaf.shape), leaf.dtype), initial
    )


def _joined(parameters: Parameters) -> np.ndarray:
    return np.concatenate([leaf.numpy().ravel() for leaf in parameters.values()])

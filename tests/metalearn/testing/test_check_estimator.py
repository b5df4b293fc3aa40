"""The conformance check of estimators: those of the package pass, and every violation is named."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from metalearn import estimators
from metalearn.testing import check_estimator
from tests.often import mostly_slow

EARLY, LATE = estimators.first_order(), estimators.checkpointed()


def natural():
    """In the metric of theta_K itself."""

    def outputs(theta, task):
        return tf.concat([tf.reshape(leaf, [-1]) for leaf in tf.nest.flatten(theta)], 0)

    def divergence(found):
        return tf.reduce_sum(tf.square(found - tf.stop_gradient(found))) / 2

    return estimators.natural(LATE, outputs, divergence)


RIGHT = {
    "checkpointed": LATE,
    "evolution": estimators.evolution(0.1, 2),
    "first_order": EARLY,
    "frozen": estimators.frozen(),
    "persistent_evolution": estimators.persistent_evolution(0.1, 2),
    "reptile": estimators.reptile(),
    "truncated": estimators.truncated(2),
    "unrolled": estimators.unrolled(),
}

EXPENSIVE = {
    "few states": estimators.checkpointed(2),
    "annealed": estimators.annealed(EARLY, LATE, iterations=10),
    "forward_mode": estimators.forward_mode(),
    "implicit": estimators.implicit(),
    "implicit of steps": estimators.implicit(of="step"),
    "implicit, warm": estimators.implicit(warm_start=True),
    "natural": natural(),
    "neumann": estimators.implicit("neumann", scale=0.1),
}


def unchanged(result, carry, seed):
    return result, carry


@dataclasses.dataclass(frozen=True)
class Changed(estimators.Estimator):
    """An estimator that wraps another one and has one error."""

    inner: Any = dataclasses.field(default_factory=estimators.reptile)
    change: Callable = unchanged
    first: Any = ()
    exact: bool = False
    residuals: tuple = ()

    def require(self, problem, phi, task):
        self.inner.require(problem, phi, task)

    def init(self, problem, phi, tasks):
        return tf.nest.map_structure(tf.constant, self.first)

    def __call__(self, problem, phi, tasks, carry=(), seed=(0, 0)):
        result, _ = self.inner(problem, phi, tasks, (), seed)
        return self.change(result, carry, seed)


class Unprintable(Changed):
    """An estimator whose repr cannot be evaluated."""

    def __repr__(self):
        return "Unprintable(...)"


@dataclasses.dataclass(frozen=True)
class Choosy(Changed):
    """An estimator that rejects all problems."""

    def require(self, problem, phi, task):
        raise ValueError(f"not with {len(phi)} leaves")


@dataclasses.dataclass(frozen=True)
class Favouring(Changed):
    """An estimator whose result depends on the mapping of tasks."""

    def __call__(self, problem, phi, tasks, carry=(), seed=(0, 0)):
        result, carry = self.inner(problem, phi, tasks, carry, seed)
        factor = 1.001 if problem.mapping == "sequential" else 1.0
        return _scaled(result, factor), carry


def _scaled(result, factor):
    gradient, per_task = tf.nest.map_structure(lambda leaf: factor * leaf, (result.gradient, result.per_task))
    return result._replace(gradient=gradient, per_task=per_task)


def _replacing(**functions):
    """Return a change of fields of the result, each by a function of it."""
    return lambda result, carry, seed: (
        result._replace(**{name: function(result) for name, function in functions.items()}),
        carry,
    )


def _eagerly_numbered(result, carry, seed):
    return _scaled(result, 1.0 if tf.executing_eagerly() else 1.001), carry


def _noisy(result, carry, seed):
    return _scaled(result, 1.0 + tf.random.uniform([], dtype=tf.float64)), carry


def _doubled(result):
    return tf.nest.map_structure(lambda leaf: 2 * leaf, result.gradient)


WRONG = {
    "no estimator": (estimators.checkpointed, "requires an estimator"),
    "flag": (Changed(exact=None), "exact is True or False"),
    "residual names": (Changed(residuals="solver"), "residuals is a tuple of names"),
    "choosy": (Choosy(), "rejects both: not with 2 leaves And: not with 1 leaves"),
    "no pair": (Changed(change=lambda result, carry, seed: result), "returns .MetaGradient, carry."),
    "numbers": (
        Changed(change=lambda result, carry, seed: (float(result.loss[0]), carry)),
        "works in a graph, but",
    ),
    "mean loss": (
        Changed(change=_replacing(loss=lambda result: tf.reduce_mean(result.loss))),
        "loss .T. is the outer loss of each task",
    ),
    "start of the loop": (
        Changed(
            change=_replacing(
                inner=lambda result: result.inner._replace(step=tf.zeros_like(result.inner.step))
            )
        ),
        "inner is the inner loop after its last step: violated by step",
    ),
    "no metrics": (Changed(change=_replacing(metrics=lambda result: {})), "metrics .*: violated by largest"),
    "undeclared residual": (
        Changed(change=_replacing(residual=lambda result: {"bias": result.loss})),
        "residual has the names in residuals: .. are declared, .'bias'. are returned",
    ),
    "residual of the batch": (
        Changed(
            change=_replacing(residual=lambda result: {"bias": tf.reduce_sum(result.loss)}),
            residuals=("bias",),
        ),
        "residual has the shape",
    ),
    "wrong mean": (
        Changed(change=_replacing(gradient=_doubled)),
        "gradient is the mean of per_task over the tasks: violated by start",
    ),
    "type": (
        Changed(
            change=_replacing(
                gradient=lambda result: tf.nest.map_structure(
                    lambda leaf: tf.cast(leaf, tf.float32), result.gradient
                )
            )
        ),
        "gradient has the structure .*float64.* got .*float32",
    ),
    "not a number": (
        Changed(change=lambda result, carry, seed: (_scaled(result, float("nan")), carry)),
        "gradient is finite",
    ),
    "ignored seed": (Changed(change=_noisy), "it is pure: a second call"),
    "lost carry": (
        Changed(first=(0,), change=lambda result, carry, seed: (result, ())),
        "the carry keeps its structure in the first call",
    ),
    "growing carry": (
        Changed(first=0, change=lambda result, carry, seed: (result, carry[None])),
        "the carry keeps its structure in the first call: .* became",
    ),
    "eager": (Changed(change=_eagerly_numbered), "results of an eager call equal those in a graph"),
    "mapping": (Favouring(), "results of the sequential mapping equal those of the vectorised one"),
    "reptile says exact": (Changed(exact=True), "exact=True is the gradient of central differences"),
    "first order says exact": (
        Changed(EARLY, exact=True),
        "exact=True is the gradient of central differences",
    ),
    "repr": (Unprintable(), "repr can be evaluated"),
    "hash": (Changed(first=[]), "a dataclass has a hash"),
}


@pytest.mark.parametrize("name", mostly_slow(RIGHT, "checkpointed"))
def test_estimators_of_the_package_pass(name):
    check_estimator(RIGHT[name])


@pytest.mark.slow  # half a minute of tracing
@pytest.mark.parametrize("name", EXPENSIVE)
def test_expensive_estimators_of_the_package_pass(name):
    check_estimator(EXPENSIVE[name])


def test_every_estimator_of_the_package_is_checked():
    public = {name for name in estimators.__all__ if name.islower()} - {"get", "mixed_mode"}
    assert {type(each).__name__ for each in (RIGHT | EXPENSIVE).values()} == public


def test_a_carry_and_residuals_of_ones_own_pass():
    def counting(result, carry, seed):
        return result._replace(residual={"calls": tf.ones_like(result.loss)}), carry + 1

    check_estimator(Changed(LATE, counting, 0, exact=True, residuals=("calls",)))


@pytest.mark.parametrize("name", mostly_slow(WRONG, *[*WRONG][::2]))
def test_wrong_estimators_are_named(name):
    estimator, message = WRONG[name]
    with pytest.raises(AssertionError, match=message):
        check_estimator(estimator)

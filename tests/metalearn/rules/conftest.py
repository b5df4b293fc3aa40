"""Many rules in one small bilevel problem, and their meta-gradients by finite differences.

Tracing an estimator costs seconds, so all rules of a test share one problem: each moves a variable of its
own, named after it, and losses add up, so that no rule's meta-gradient depends on another.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from metalearn import estimators
from metalearn.problems.bilevel import BilevelProblem
from metalearn.types import Batch, Meta, Parameters, Rule, Structure, Task

START = tf.constant([0.5, -0.4, 0.9], tf.float64)
"""Weights of one neuron. The inner gradient of the last is exactly 0: its input is."""


class Hypergradients(NamedTuple):
    """The meta-gradient of one rule's initial weights and of all that it learns, as a vector.

    Attributes:
        exact: of each estimator.
        differences: by central finite differences.
    """

    exact: list[np.ndarray]
    differences: np.ndarray


def _side_by_side(rules: dict[str, Rule]) -> Rule:
    """Return the rule that moves each variable by the rule of its name."""

    def of_each(function: Callable[[str], Structure]) -> Structure:
        return {name: function(name) for name in rules}

    def update(gradients, state, parameters, hyperparameters, step):
        pairs = of_each(
            lambda name: rules[name].update(
                {name: gradients[name]}, state[name], {name: parameters[name]}, hyperparameters[name], step
            )
        )
        return of_each(lambda name: pairs[name][0][name]), of_each(lambda name: pairs[name][1])

    return SimpleNamespace(
        learnable=lambda parameters: of_each(lambda name: rules[name].learnable({name: parameters[name]})),
        init=lambda parameters: of_each(lambda name: rules[name].init({name: parameters[name]})),
        update=update,
    )


def _inner_losses(parameters: Parameters, batch: Batch) -> tf.Tensor:
    outputs = tf.tanh(tf.linalg.matmul(batch.inputs, tf.stack(list(parameters.values())), transpose_b=True))
    return tf.reduce_mean(tf.square(outputs - batch.targets[:, None]), axis=0)


def _outer_losses(parameters: Parameters, batch: Batch) -> tf.Tensor:
    penalties = tf.reduce_sum(tf.square(tf.stack(list(parameters.values()))), axis=1)
    return _inner_losses(parameters, batch) + penalties


def _tasks() -> Task:
    """Return two tasks of four examples."""
    random = np.random.default_rng(0)

    def batch() -> Batch:
        inputs = random.normal(size=(2, 4, 3)) * [1, 1, 0]
        return Batch(tf.constant(inputs), tf.constant(random.normal(size=(2, 4))))

    return Task(batch(), batch())


def _differences(problem: BilevelProblem, meta: Meta, tasks: Task) -> dict[str, np.ndarray]:
    """Return every rule's meta-gradient by central differences, through a plain loop over tasks and steps."""
    names = list(meta["parameters"])

    @tf.function(autograph=False)
    def losses(meta: Meta) -> tf.Tensor:
        total = tf.zeros([len(names)], tf.float64)
        for task in range(2):
            support, query, *_ = tf.nest.map_structure(lambda leaf, task=task: leaf[task], tasks)
            parameters = meta["parameters"]
            state = problem.rule.init(parameters)
            for step in range(problem.steps):
                with tf.GradientTape() as tape:
                    tape.watch(parameters)
                    loss = problem.inner_loss(parameters, meta, support, ())
                gradients = tape.gradient(loss, parameters)
                parameters, state = problem.rule.update(gradients, state, parameters, meta["rule"], step)
            total += _outer_losses(parameters, query) / 2
        return total

    vectors = {name: _vector(meta, name) for name in names}
    found: dict[str, list[float]] = {name: [] for name in names}
    for index in range(max(map(len, vectors.values()))):
        moves = {
            name: np.where(np.arange(len(vector)) == index, 3e-6 * np.maximum(np.abs(vector), 0.1), 0)
            for name, vector in vectors.items()
        }
        above, below = (
            losses(_moved(meta, {name: sign * move for name, move in moves.items()})).numpy()
            for sign in (1, -1)
        )
        for place, name in enumerate(names):
            if index < len(vectors[name]):
                found[name].append((above - below)[place] / (2 * moves[name][index]))
    return {name: np.array(values) for name, values in found.items()}


def _part(meta: Meta, name: str) -> Structure:
    return meta["parameters"][name], meta["rule"][name]


def _vector(meta: Meta, name: str) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in tf.nest.flatten(_part(meta, name))])


def _moved(meta: Meta, moves: dict[str, np.ndarray]) -> Meta:
    moved: Meta = {"parameters": {}, "rule": {}}
    for name, move in moves.items():
        leaves = tf.nest.flatten(_part(meta, name))
        pieces = np.split(move, np.cumsum([tf.size(leaf) for leaf in leaves])[:-1])
        leaves = [leaf + piece.reshape(leaf.shape) for leaf, piece in zip(leaves, pieces, strict=True)]
        moved["parameters"][name], moved["rule"][name] = tf.nest.pack_sequence_as(_part(meta, name), leaves)
    return moved


@pytest.fixture(scope="session")
def hypergradients() -> Callable[..., dict[str, Hypergradients]]:
    """``(rules by name, steps, names of estimators) -> their meta-gradients by name``."""

    def compute(
        rules: dict[str, Rule], steps: int, exact: tuple[str, ...] = ("unrolled", "checkpointed")
    ) -> dict[str, Hypergradients]:
        problem = BilevelProblem(
            start=lambda meta, task: meta["parameters"],
            inner_loss=lambda parameters, meta, batch, _: tf.reduce_sum(_inner_losses(parameters, batch)),
            outer_loss=lambda parameters, meta, task, _: tf.reduce_sum(_outer_losses(parameters, task.query)),
            rule=_side_by_side(rules),
            steps=steps,
        )
        parameters = dict.fromkeys(rules, START)
        meta, tasks = {"parameters": parameters, "rule": problem.rule.learnable(parameters)}, _tasks()

        def estimate(name: str) -> Meta:
            estimator = getattr(estimators, name)()
            return tf.function(lambda *given: estimator(problem, *given)[0].gradient, autograph=False)(
                meta, tasks
            )

        found = [estimate(name) for name in exact]
        differences = _differences(problem, meta, tasks)
        return {
            name: Hypergradients([_vector(meta, name) for meta in found], differences[name]) for name in rules
        }

    return compute


@pytest.fixture(scope="session")
def assert_right() -> Callable[[Hypergradients], None]:
    """Return the check that estimators agree with each other, and with differences."""

    def check(found: Hypergradients) -> None:
        for one in found.exact:
            np.testing.assert_allclose(one, found.exact[0], rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(one, found.differences, rtol=1e-6, atol=1e-8)

    return check

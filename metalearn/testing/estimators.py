"""Conformance check of estimators of the meta-gradient."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from metalearn import estimators, rules
from metalearn.autodiff import check_gradients
from metalearn.estimators import Estimator
from metalearn.estimators.protocol import Carry, require_estimator
from metalearn.inner_loop import inner_start, inner_step, outer_loss
from metalearn.problems import BilevelProblem
from metalearn.testing.requirements import check_record, differing, hold, layout, same_bits
from metalearn.types import Batch, Inner, Meta, MetaGradient, Parameters, Problem, Structure, Task

STEPS = 3
"""Inner steps: momentum has an effect from the second on, the state between steps from the third."""

SEED = (4, 5)

AGREEMENT = 1e-10
"""Tolerance between results of one formula in eager execution, in graphs, and with different mappings."""

TOLERANCE = 1e-6
"""Tolerance between an exact derivative and a difference, relative to the largest entry of its leaf."""

STARTS = np.array([0.5, 0.1, -0.2])
CURVATURES = np.array([[1.0, 2.0, 4.0], [0.5, 3.0, 1.5]])
LINEAR = np.array([[1.0, 1.0, 1.0], [-0.4, 0.7, 0.2]])
TARGETS = np.array([[0.3, -0.5, 0.9], [1.1, 0.6, -0.3]])
WEIGHTS = np.array([0.3, 0.7])
"""The two tasks of the comparison of gradients differ, so that exchanging them is detected."""

_hold = functools.partial(hold, "check_estimator")

Function = Callable[..., tuple[MetaGradient, Carry]]


class Case(NamedTuple):
    """A problem with phi and tasks for it, an estimator's program in a graph, and its result."""

    problem: BilevelProblem
    phi: Meta
    tasks: Task
    program: Function
    carry: Carry
    result: MetaGradient
    after: Carry


def check_estimator(estimator: Estimator) -> None:
    """Check that an object fulfils the contract of :class:`metalearn.estimators.Estimator`.

    The estimator is called in float64 on two tasks with ``K = 3`` steps of gradient descent with momentum::

        inner_loss = 1/2 p'Hp - b'p + exp(s)/2 |p - p_0|^2
        outer_loss = 1/2 |p_K|^2 - q'p_K + 1/4 |p_0|^2

    with phi = (p_0, s); or, if it raises ``ValueError`` for that, with phi = p_0, s = 0 and without the last
    term. The following is checked:

    - it has the methods ``require``, ``init`` and ``__call__`` and the attributes ``exact``,
      ``second_order``, ``weighs_steps``, ``continues`` and ``residuals``;
    - ``loss [T]``, ``metrics [T]`` and ``inner [T, ...]``, with its number of steps, are those at the end of
      the inner loop; ``residual [T]`` has the names in ``residuals``;
    - ``per_task [T, ...]`` and ``gradient`` have the structure of phi and are finite, and the second is the
      mean of the first;
    - it is pure: the same arguments give the same bits, and phi is unchanged;
    - eager calls and the sequential mapping equal a graph with the vectorised mapping, to 1e-10;
    - the carry keeps its structure, shapes and types from call to call;
    - if ``exact``, the gradient of each task equals central differences, to 1e-6;
    - if it is a dataclass, a copy is equal with the same hash, and the evaluated ``repr`` is equal.

    Args:
        estimator: any object with the methods of :class:`metalearn.estimators.Estimator`.

    Raises:
        AssertionError: naming the violated requirement; or both errors, if the estimator accepts neither
            problem.
    """
    _check_declarations(estimator)
    case = _accepted(estimator)
    _check_values(estimator, case)
    _check_gradients(case)
    _check_carry(case)
    _check_purity(case)
    _check_ways(estimator, case)
    if estimator.exact:
        _check_exactness(case)
    if dataclasses.is_dataclass(estimator):
        known = {name: getattr(package, name) for package in (rules, estimators) for name in package.__all__}
        check_record("check_estimator", estimator, known)


def _check_declarations(estimator: Estimator) -> None:
    try:
        require_estimator("estimator", estimator)
    except ValueError as error:
        raise AssertionError(f"check_estimator requires an estimator: {error}") from error
    for name in ("exact", "second_order", "weighs_steps", "continues"):
        value = getattr(estimator, name, None)
        _hold(isinstance(value, bool), f"{name} is True or False, got {value!r}")
    said = getattr(estimator, "residuals", None)
    names_only = isinstance(said, tuple) and all(isinstance(name, str) for name in said)
    _hold(names_only, f"residuals is a tuple of names, got {said!r}")


def _accepted(estimator: Estimator) -> Case:
    """Return the first of the two problems that the estimator accepts, with its result in a graph."""
    refusals = []
    for learned_strength in (True, False):
        problem, phi, tasks = _posed(learned_strength)
        program = tf.function(_called(estimator, problem), autograph=False)
        try:
            estimator.require(problem, phi, tf.nest.map_structure(lambda leaf: leaf[0], tasks))
            carry = estimator.init(problem, phi, tasks)
            returned = program(phi, tasks, carry, tf.constant(SEED))
        except ValueError as error:
            refusals.append(str(error))
            continue
        except Exception as error:
            raise AssertionError(
                f"check_estimator requires that it works in a graph, but {error!r}"
            ) from error
        is_pair = isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], MetaGradient)
        _hold(is_pair, f"a call returns (MetaGradient, carry), got {type(returned).__name__}")
        return Case(problem, phi, tasks, program, carry, *returned)
    raise AssertionError(
        "check_estimator requires that it accepts a quadratic problem whose phi is p_0 and the strength of "
        f"a penalty, or p_0 only, but it rejects both: {refusals[0]} And: {refusals[1]}"
    )


def _posed(learned_strength: bool) -> tuple[BilevelProblem, Meta, Task]:
    """Return the problem, phi and tasks of :func:`check_estimator`."""

    def inner(theta: Parameters, phi: Meta, batch: Batch, model: Structure) -> tf.Tensor:
        distance = tf.reduce_sum(tf.square(theta["p"] - phi["start"])) / 2
        strength = tf.exp(phi["strength"]) if learned_strength else 1.0
        quadratic = tf.reduce_sum(batch.inputs * tf.square(theta["p"]) / 2 - batch.targets * theta["p"])
        return quadratic + strength * distance

    def outer(theta: Parameters, phi: Meta, task: Task, model: Structure) -> Any:
        loss = tf.reduce_sum(tf.square(theta["p"]) / 2 - task.query.targets * theta["p"])
        direct = tf.reduce_sum(tf.square(phi["start"])) / 4 if learned_strength else 0.0
        return loss + direct, {"largest": tf.reduce_max(theta["p"])}

    problem = BilevelProblem(
        start=lambda phi, task: {"p": phi["start"]},
        inner_loss=inner,
        outer_loss=outer,
        rule=rules.momentum(0.1, 0.5),
        steps=STEPS,
    )
    phi = {"start": tf.constant(STARTS)}
    if learned_strength:
        phi["strength"] = tf.constant(-0.5, tf.float64)
    support = Batch(tf.constant(CURVATURES), tf.constant(LINEAR))
    return problem, phi, Task(support, Batch(tf.zeros_like(support.inputs), tf.constant(TARGETS)))


def _called(estimator: Estimator, problem: Problem) -> Function:
    return lambda phi, tasks, carry, seed: estimator(problem, phi, tasks, carry, seed)


def _meta_losses(case: Case, phi: Meta) -> tuple[Inner, tuple[tf.Tensor, dict[str, tf.Tensor]]]:
    """Return the final inner loops, outer losses and metrics, computed without an estimator."""
    ends, measured = [], []
    for index in range(len(WEIGHTS)):
        task = tf.nest.map_structure(lambda leaf, index=index: leaf[index], case.tasks)
        inner = inner_start(case.problem, phi, task)
        for step in range(STEPS):
            inner = inner_step(case.problem, inner, phi, task, step)
        ends.append(inner._replace(step=tf.constant(STEPS)))
        measured.append(outer_loss(case.problem, inner.parameters, phi, task, inner.model))
    stacked = [tf.nest.map_structure(lambda *leaves: tf.stack(leaves), *each) for each in (ends, measured)]
    return stacked[0], stacked[1]


def _check_values(estimator: Estimator, case: Case) -> None:
    inner, (loss, metrics) = _meta_losses(case, case.phi)
    result = case.result
    for what, found, expected in (
        ("inner is the inner loop after its last step", result.inner, inner),
        ("loss [T] is the outer loss of each task after its inner loop", result.loss, loss),
        ("metrics [T] are those that the outer loss reports for each task", result.metrics, metrics),
    ):
        wrong = differing(found, expected, AGREEMENT)
        _hold(not wrong, f"{what}: violated by {', '.join(name or 'the tensor' for name in wrong)}")
    said, found = sorted(estimator.residuals), sorted(result.residual)
    _hold(said == found, f"residual has the names in residuals: {said} are declared, {found} are returned")
    tasks = len(WEIGHTS)
    for name, leaf in result.residual.items():
        _hold(leaf.shape == [tasks], f"residual has the shape [T]: {name} has the shape {leaf.shape}")


def _check_gradients(case: Case) -> None:
    result, phi = case.result, case.phi
    each = tf.nest.map_structure(lambda leaf: tf.stack([leaf] * len(WEIGHTS)), phi)
    for name, found, expected in (("gradient", result.gradient, phi), ("per_task", result.per_task, each)):
        _hold(
            layout(found) == layout(expected),
            f"{name} has the structure {layout(expected)}, got {layout(found)}",
        )
        finite = all(bool(tf.reduce_all(tf.math.is_finite(leaf))) for leaf in tf.nest.flatten(found))
        _hold(finite, f"{name} is finite")
    mean = tf.nest.map_structure(lambda leaf: tf.reduce_mean(leaf, 0), result.per_task)
    wrong = differing(result.gradient, mean, AGREEMENT)
    _hold(not wrong, f"gradient is the mean of per_task over the tasks: violated by {', '.join(wrong)}")


def _check_carry(case: Case) -> None:
    again = case.program(case.phi, case.tasks, case.after, tf.constant(SEED))[1]
    for call, before, after in (("first", case.carry, case.after), ("second", case.after, again)):
        what = f"the carry keeps its structure in the {call} call"
        try:
            tf.nest.assert_same_structure(before, after)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"check_estimator requires that {what}: {before} became {after}") from error
        old, new = layout(before), layout(after)
        _hold(old == new, f"{what}: {old} became {new}")


def _check_purity(case: Case) -> None:
    again = case.program(case.phi, case.tasks, case.carry, tf.constant(SEED))
    same = same_bits(again, (case.result, case.after))
    _hold(same, "it is pure: a second call with the same arguments and seed gives other values")


def _check_ways(estimator: Estimator, case: Case) -> None:
    """Compare with eager calls and a sequential map, in one call, because tracing takes most of the time."""
    one_by_one = dataclasses.replace(case.problem, mapping="sequential")
    given = tf.nest.map_structure(lambda leaf: leaf, case.phi)
    found = _called(estimator, one_by_one)(given, case.tasks, case.carry, SEED)
    _hold(same_bits(given, case.phi), "phi is unchanged by a call")
    wrong = differing(found, (case.result, case.after), AGREEMENT)
    if not wrong:
        return
    in_graph = tf.function(_called(estimator, one_by_one), autograph=False)
    again = in_graph(case.phi, case.tasks, case.carry, tf.constant(SEED))
    where = (
        "results of the sequential mapping equal those of the vectorised one"
        if differing(again, (case.result, case.after), AGREEMENT)
        else "results of an eager call equal those in a graph"
    )
    _hold(False, f"{where}: it differs in {', '.join(wrong)}")


def _check_exactness(case: Case) -> None:
    weights = tf.constant(WEIGHTS)
    gradient = tf.nest.map_structure(lambda leaf: tf.tensordot(weights, leaf, 1), case.result.per_task)
    meta_loss = tf.function(
        lambda phi: tf.tensordot(weights, _meta_losses(case, phi)[1][0], 1), autograph=False
    )
    report = check_gradients(meta_loss, case.phi, gradient)
    _hold(
        report.passed(TOLERANCE),
        f"exact=True is the gradient of central differences, but {report.worst}",
    )

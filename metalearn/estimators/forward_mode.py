"""Forward mode: the derivative of theta_k by every scalar of phi, carried along with theta_k."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metalearn.autodiff import jvp, require_connected
from metalearn.autodiff.gradients import dense
from metalearn.checks import require_count
from metalearn.estimators.protocol import Estimator, average
from metalearn.execution.layout import Each, run
from metalearn.execution.loops import fold
from metalearn.nest import ravel
from metalearn.problems.bilevel import BilevelProblem, Inner, inner_start, inner_step
from metalearn.types import Batch, Meta, MetaGradient, Parameters, Structure, Task

Carry = tuple[Inner, Structure]
"""``(theta_k, s_k)`` and its tangents ``[M, ...]``, one for each scalar of phi."""


def forward_mode(limit: int = 256) -> Estimator:
    """Return the exact estimator for a handful of meta-parameters, such as learned rates.

    ::

        d theta_{k+1} / d phi_m = d step / d theta  d theta_k / d phi_m  +  d step / d phi_m,      m = 1..M
        d meta-loss / d phi_m   = <grad_theta outer_loss, d theta_K / d phi_m> + d outer_loss / d phi_m

    Nothing of a step is needed after it, so memory does not depend on the number of steps; time and memory
    grow with M, the scalars in phi.

    Args:
        limit: the largest M accepted, at least 1.

    Raises:
        ValueError: if ``limit`` is not a positive integer. Called with more scalars in phi, the estimator
            raises ValueError with their number.

    Reference: Franceschi et al. (2017), "Forward and Reverse Gradient-Based Hyperparameter Optimization",
    algorithm 2 (Forward-HG).
    """
    require_count("limit", limit)

    def check(problem: BilevelProblem, meta: Meta) -> None:
        scalars = _scalars(meta)
        if scalars > limit:
            raise ValueError(
                f"the estimator forward_mode carries a tangent for each of the {scalars} scalars in the "
                f"meta-parameters, and its limit is {limit}: use the estimator mixed_mode, whose cost does "
                "not grow with their number, or raise the limit"
            )

    return Estimator(_estimate, check, exact=True)


def _estimate(problem: BilevelProblem, meta: Meta, tasks: Task) -> MetaGradient:
    basis = _basis(meta)

    def start(task: Task) -> Carry:
        _require_connected(problem, meta, task)
        return _push(problem, lambda meta: inner_start(problem, meta, task.support), (meta,), (basis,))

    def program(each: Each, in_graph: bool, carry: Carry, tasks: Task) -> tuple[tf.Tensor, Meta, Parameters]:
        def body(carry: Carry, step: Any) -> Carry:
            def of_one_task(inner: Inner, tangents: Structure, support: Batch) -> Carry:
                def function(inner: Inner, meta: Meta) -> Inner:
                    return inner_step(problem, inner, meta, support, step)

                return _push(problem, function, (inner, meta), (tangents, basis))

            return each(of_one_task, *carry, tasks.support)

        (parameters, _), (tangents, _) = fold(body, carry, problem.steps, in_graph=in_graph)
        loss, gradient = each(lambda *a: _outer(problem, meta, basis, *a), parameters, tangents, tasks.query)
        return loss, gradient, parameters

    # Each step holds a map over directions, which is slow to trace: one in a loop, not K of them fused.
    return average(*run(problem, program, problem.map(start, tasks), tasks, fused=False))


def _push(
    problem: BilevelProblem, function: Callable[..., Structure], point: Structure, tangents: Structure
) -> tuple[Structure, Structure]:
    """Return ``function(*point)`` of one task and its derivatives along ``M`` tangents, ``[M, ...]``."""
    moved = problem.map(lambda *tangent: jvp(lambda point: function(*point), point, tangent)[1], *tangents)
    return function(*point), moved


def _outer(
    problem: BilevelProblem,
    meta: Meta,
    basis: Meta,
    parameters: Parameters,
    tangents: Structure,
    query: Batch,
) -> tuple[tf.Tensor, Meta]:
    """Return the meta-loss of one task and its gradient, from the tangents of theta_K."""
    with tf.GradientTape() as tape:
        tape.watch((parameters, meta))
        loss = problem.outer_loss(parameters, meta, query)
    gradients = tape.gradient(loss, (parameters, meta), unconnected_gradients=tf.UnconnectedGradients.ZERO)
    slopes = tf.nest.map_structure(
        lambda gradient, tangents: tf.tensordot(tangents, gradient, gradient.shape.rank),
        dense(gradients),
        (tangents, basis),
    )
    _, unravel = ravel(meta)
    return loss, unravel(tf.add_n(tf.nest.flatten(slopes)))


def _basis(meta: Meta) -> Meta:
    """Return the unit vector of every scalar of phi: each leaf ``[M, ...]``."""
    flat, _ = ravel(meta)
    leaves = tf.nest.flatten(meta)
    parts = tf.split(
        tf.eye(_scalars(meta), dtype=flat.dtype), [leaf.shape.num_elements() for leaf in leaves], 1
    )
    return tf.nest.pack_sequence_as(
        meta, [tf.reshape(part, [-1, *leaf.shape]) for part, leaf in zip(parts, leaves, strict=True)]
    )


def _scalars(meta: Meta) -> int:
    return sum(leaf.shape.num_elements() for leaf in tf.nest.flatten(meta))


def _require_connected(problem: BilevelProblem, meta: Meta, task: Task) -> None:
    """Raise ValueError naming the leaves of phi that a first step and the outer loss do not depend on.

    A tangent of zero does not tell whether there is a path; a tape does. What it computes is not used.
    """
    with tf.GradientTape() as tape:
        tape.watch(meta)
        inner = inner_start(problem, meta, task.support)
        if problem.steps:
            inner = inner_step(problem, inner, meta, task.support, 0)
        loss = problem.outer_loss(inner[0], meta, task.query)
    require_connected(meta, tape.gradient(loss, meta))

"""The exact meta-gradient in mixed mode: reverse over the steps, forward over reverse within each.

Nested tapes record the backward pass of every step in order to differentiate it. Here the forward pass
keeps only ``theta_k`` and ``s_k``; the backward pass goes through the steps from last to first with the
cotangents of ``theta_{k+1}``, ``s_{k+1}`` and phi, and for step k

1. takes reverse mode through the cheap ``rule.update`` alone, its gradient argument treated as an input,
   which gives cotangents of theta, of the state, of phi, and of the gradient: call that one v;
2. pushes v forward through the gradient (one forward-over-reverse product): the theta part is the
   Hessian-vector product ``H v``, the phi part the mixed partial ``d^2 inner_loss / d phi d theta  v``.
   Both are symmetric, so they are the cotangents that reverse mode would have found.

Reference: Kemaev et al. (2025), "Scalable Meta-Learning via Mixed-Mode Differentiation",
arXiv 2505.00793, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf

from metalearn.bilevel import BilevelProblem, Inner, inner_gradient, inner_start, inner_step, map_tasks
from metalearn.derivatives import names, require_connected
from metalearn.estimators.protocol import Estimator, average
from metalearn.loops import fold, scan
from metalearn.types import Batch, Meta, MetaGradient, Parameters, Structure, Task

FUSED_STEPS = 5
"""Up to so many inner steps, one map over tasks holds them all; beyond, the loop is in the graph."""

Step: TypeAlias = "int | tf.Tensor"

Each = Callable[..., Any]
"""``each(function, *arguments)``: apply a function of one task, by calling it or by mapping it over tasks."""

Reached = set[str]
"""Names of the leaves of phi that some path leads to, collected while the graph is built."""


def mixed_mode() -> Estimator:
    """Return the default exact estimator.

    Equal to ``unrolled``; beyond ``FUSED_STEPS`` steps its compile time and its memory for activations
    do not grow with their number.
    """
    return lambda problem, meta, tasks: reverse(problem, meta, tasks, second_order=True)


def reverse(problem: BilevelProblem, meta: Meta, tasks: Task, *, second_order: bool) -> MetaGradient:
    """Return the meta-gradient; without ``second_order``, part 2 of every backward step is left out."""
    reached: Reached = set()
    start = map_tasks(lambda _: inner_start(problem, meta), tasks.support)

    def through_steps(
        each: Each, in_graph: bool, start: Inner, tasks: Task
    ) -> tuple[tf.Tensor, Meta, Parameters]:
        """Return meta-loss, meta-gradient and theta_K: of one task if ``each`` calls, of all if it maps."""

        def forward(inner: Inner, step: Step) -> Inner:
            return each(
                lambda inner, support: inner_step(problem, inner, meta, support, step), inner, tasks.support
            )

        def backward(cotangents: Structure, done: Step) -> Structure:
            step = problem.steps - 1 - done

            def of_one_task(inner: Inner, cotangents: Structure, support: Batch) -> Structure:
                cotangents, vector = _rule_backward(problem, meta, inner, cotangents, support, step, reached)
                if not second_order:
                    return cotangents
                return _gradient_backward(problem, meta, inner, cotangents, support, vector, reached)

            return each(of_one_task, before(step), cotangents, tasks.support)

        last, before = scan(forward, start, problem.steps, in_graph=in_graph)
        loss, cotangents = each(lambda *a: _outer_backward(problem, meta, reached, *a), last, tasks.query)
        cotangents = fold(backward, cotangents, problem.steps, in_graph=in_graph)
        gradient = each(lambda *a: _start_backward(problem, meta, a, reached), *cotangents)
        return loss, gradient, last[0]

    if problem.steps <= FUSED_STEPS:
        result = map_tasks(lambda *a: through_steps(_call, False, *a), start, tasks)
    else:
        result = through_steps(map_tasks, True, start, tasks)
    require_connected(meta, [name if name in reached else None for name in names(meta)])
    return average(*result)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _outer_backward(
    problem: BilevelProblem, meta: Meta, reached: Reached, last: Inner, query: Batch
) -> tuple[tf.Tensor, Structure]:
    """Return the meta-loss and the cotangents of ``(theta_K, s_K, phi)``."""
    parameters, state = last
    with tf.GradientTape() as tape:
        tape.watch((parameters, meta))
        loss = problem.outer_loss(parameters, meta, query)
    to_parameters, to_meta = tape.gradient(loss, (parameters, meta))
    zeros = tf.nest.map_structure(tf.zeros_like, (parameters, state, meta))
    _reach(reached, to_meta)
    return loss, _add(zeros, (to_parameters, zeros[1], to_meta))


def _rule_backward(
    problem: BilevelProblem,
    meta: Meta,
    inner: Inner,
    cotangents: Structure,
    support: Batch,
    step: Step,
    reached: Reached,
) -> tuple[Structure, Parameters]:
    """Take cotangents of ``(theta_{k+1}, s_{k+1}, phi)`` through the rule.

    Returns:
        Cotangents of ``(theta_k, s_k, phi)`` with the inner gradient held fixed, and that of the gradient.
    """
    parameters, state = inner
    *to_updated, to_meta = cotangents
    _, gradients = inner_gradient(problem, parameters, meta, support)
    with tf.GradientTape() as tape:
        tape.watch((gradients, inner, meta))
        updated = problem.rule.update(gradients, state, parameters, problem.hyperparameters(meta), step)
    vector, through_inner, through_meta = tape.gradient(
        updated, (gradients, inner, meta), output_gradients=tuple(to_updated)
    )
    _reach(reached, through_meta)
    zeros = tf.nest.map_structure(tf.zeros_like, (gradients, inner))
    return (*_add(zeros[1], through_inner), _add(to_meta, through_meta)), _add(zeros[0], vector)


def _gradient_backward(
    problem: BilevelProblem,
    meta: Meta,
    inner: Inner,
    cotangents: Structure,
    support: Batch,
    vector: Parameters,
    reached: Reached,
) -> Structure:
    """Add the products of ``vector`` with the Hessian and with the mixed partial of the inner loss."""
    parameters, _ = inner
    to_parameters, to_state, to_meta = cotangents
    points, tangents = tf.nest.flatten(parameters), tf.nest.flatten(vector)
    with tf.autodiff.ForwardAccumulator(points, tangents) as forward:
        with tf.GradientTape() as tape:
            tape.watch((parameters, meta))
            loss = problem.inner_loss(parameters, meta, support)
        gradients = tape.gradient(loss, (parameters, meta))
    hessian_vector, mixed = tf.nest.map_structure(
        lambda gradient: None if gradient is None else forward.jvp(gradient), gradients
    )
    _reach(reached, mixed)
    return _add(to_parameters, hessian_vector), to_state, _add(to_meta, mixed)


def _start_backward(problem: BilevelProblem, meta: Meta, cotangents: Structure, reached: Reached) -> Meta:
    """Return the cotangent of phi, now that theta_0 and s_0 are made from it."""
    to_parameters, to_state, to_meta = cotangents
    with tf.GradientTape() as tape:
        tape.watch(meta)
        started = inner_start(problem, meta)
    through_start = tape.gradient(started, meta, output_gradients=(to_parameters, to_state))
    _reach(reached, through_start)
    return _add(to_meta, through_start)


def _reach(reached: Reached, to_meta: Meta) -> None:
    reached.update(
        name for name, leaf in zip(names(to_meta), tf.nest.flatten(to_meta), strict=True) if leaf is not None
    )


def _add(left: Structure, right: Structure) -> Structure:
    """Add two cotangents of the same thing; ``None`` on the right is a path that does not exist."""
    return tf.nest.map_structure(lambda a, b: a if b is None else a + b, left, right)

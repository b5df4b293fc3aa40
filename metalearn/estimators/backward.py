"""The backward pass over the inner steps, and the ways to take cotangents through one of them.

The forward pass keeps only ``theta_k`` and ``s_k``. The backward pass goes through the steps from last to
first with the cotangents of ``theta_{k+1}``, ``s_{k+1}`` and phi; a :data:`Pullback` turns them into those
of ``theta_k``, ``s_k`` and phi. Estimators differ in the pullback of a step, and in nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from metalearn.autodiff import require_connected
from metalearn.autodiff.gradients import dense
from metalearn.estimators.protocol import average
from metalearn.execution.layout import Each, run
from metalearn.execution.loops import fold, scan
from metalearn.nest import names
from metalearn.problems.bilevel import (
    BilevelProblem,
    Inner,
    Step,
    inner_gradient,
    inner_start,
    inner_step,
    step_support,
    weighted_outer_loss,
)
from metalearn.types import Batch, Meta, MetaGradient, Parameters, Structure, Task


class Cotangents(NamedTuple):
    """Derivatives of the meta-loss of one task: by theta_k, by s_k, and by phi on the paths seen so far."""

    parameters: Parameters
    state: Structure
    meta: Meta


@dataclasses.dataclass(frozen=True)
class Pass:
    """One backward pass: what it is about, and which leaves of phi it has found a path to.

    Attributes:
        problem: the bilevel problem.
        meta: phi.
        reached: names of leaves, collected while the graph is built.
    """

    problem: BilevelProblem
    meta: Meta
    reached: set[str] = dataclasses.field(default_factory=set)

    def reach(self, to_meta: Meta) -> Meta:
        """Note the leaves of a cotangent of phi that are not None, and return it."""
        named = zip(names(to_meta), tf.nest.flatten(to_meta), strict=True)
        self.reached.update(name for name, leaf in named if leaf is not None)
        return to_meta

    def missing(self) -> list[str]:
        """Return the names of the leaves of phi that no path leads to."""
        return [name for name in names(self.meta) if name not in self.reached]


Carry = tuple[tf.Tensor, Cotangents]
"""The meta-loss of one task and its cotangents, as far as the backward pass has come."""

Pullback = Callable[[Pass, Inner, Cotangents, Batch, Step], Cotangents]
"""``(pass, (theta_k, s_k), cotangents after step k, support, k) -> cotangents before it``."""


def reverse(
    problem: BilevelProblem,
    meta: Meta,
    tasks: Task,
    phases: Sequence[tuple[int, Pullback]],
    *,
    fused: bool = True,
) -> MetaGradient:
    """Return the meta-gradient by a backward pass over the steps.

    Args:
        problem: the bilevel problem.
        meta: phi.
        tasks: leaves ``[T, N, ...]``.
        phases: ``(number of steps, their pullback)``, from the last steps to the first; the numbers add up
            to ``problem.steps``.
        fused: see :func:`metalearn.estimators.programs.run`.

    Raises:
        ValueError: naming the leaves of phi that no path leads to.
    """
    through = Pass(problem, meta)
    start = problem.map(lambda support: inner_start(problem, meta, support), tasks.support)

    def program(each: Each, in_graph: bool, start: Inner, tasks: Task) -> tuple[tf.Tensor, Meta, Parameters]:
        def forward(inner: Inner, step: Step) -> Inner:
            return each(
                lambda inner, support: inner_step(problem, inner, meta, support, step), inner, tasks.support
            )

        def backward(pullback: Pullback, done: int, carry: Carry, index: Step) -> Carry:
            step = problem.steps - 1 - done - index

            def of_one_task(inner: Inner, loss: tf.Tensor, cotangents: Cotangents, task: Task) -> Carry:
                cotangents = pullback(through, inner, cotangents, task.support, step)
                if problem.step_weights is None:
                    return loss, cotangents
                more, added = through_outer(through, inner, task.query, step)
                return loss + more, _add(cotangents, added)

            return each(of_one_task, before(step), *carry, tasks)

        last, before = scan(forward, start, problem.steps, in_graph=in_graph)
        carry = each(
            lambda last, query: through_outer(through, last, query, problem.steps), last, tasks.query
        )
        done = 0
        for steps, pullback in phases:
            if steps:
                body = functools.partial(backward, pullback, done)
                carry = fold(body, carry, steps, in_graph=in_graph)
            done += steps
        loss, cotangents = carry
        gradient = each(
            lambda cotangents, support: through_start(through, cotangents, support), cotangents, tasks.support
        )
        return loss, gradient, last[0]

    result = run(problem, program, start, tasks, fused=fused)
    missing = through.missing()
    require_connected(meta, [None if name in missing else name for name in names(meta)])
    return average(*result)


def cut(through: Pass, inner: Inner, cotangents: Cotangents, support: Batch, step: Step) -> Cotangents:
    """Pull back through the rule only: the inner gradient is taken for a constant."""
    (parameters, state), problem, meta = inner, through.problem, through.meta
    _, gradients = inner_gradient(problem, parameters, meta, step_support(problem, support, step))
    with tf.GradientTape() as tape:
        tape.watch((inner, meta))
        updated = problem.rule.update(gradients, state, parameters, problem.hyperparameters(meta), step)
    to_inner, to_meta = dense(tape.gradient(updated, (inner, meta), output_gradients=tuple(cotangents)[:2]))
    parameters, state = _add(tf.nest.map_structure(tf.zeros_like, inner), to_inner)
    return Cotangents(parameters, state, _add(cotangents.meta, through.reach(to_meta)))


def retraced(through: Pass, inner: Inner, cotangents: Cotangents, support: Batch, step: Step) -> Cotangents:
    """Pull back exactly, by repeating the whole step under a tape."""
    with tf.GradientTape() as tape:
        tape.watch((inner, through.meta))
        updated = inner_step(through.problem, inner, through.meta, support, step)
    to_inner, to_meta = dense(
        tape.gradient(updated, (inner, through.meta), output_gradients=tuple(cotangents)[:2])
    )
    parameters, state = _add(tf.nest.map_structure(tf.zeros_like, inner), to_inner)
    return Cotangents(parameters, state, _add(cotangents.meta, through.reach(to_meta)))


def through_outer(through: Pass, inner: Inner, query: Batch, step: Step) -> Carry:
    """Return what theta_k adds to the meta-loss of one task, and cotangents of ``(theta_k, s_k, phi)``."""
    parameters, state = inner
    with tf.GradientTape() as tape:
        tape.watch((parameters, through.meta))
        loss = weighted_outer_loss(through.problem, parameters, through.meta, query, step)
    to_parameters, to_meta = dense(tape.gradient(loss, (parameters, through.meta)))
    zeros = tf.nest.map_structure(tf.zeros_like, Cotangents(parameters, state, through.meta))
    return loss, Cotangents(
        _add(zeros.parameters, to_parameters), zeros.state, _add(zeros.meta, through.reach(to_meta))
    )


def through_start(through: Pass, cotangents: Cotangents, support: Batch) -> Meta:
    """Return the cotangent of phi, now that theta_0 and s_0 are made from it."""
    with tf.GradientTape() as tape:
        tape.watch(through.meta)
        started = inner_start(through.problem, through.meta, support)
    to_meta = tape.gradient(started, through.meta, output_gradients=tuple(cotangents)[:2])
    return _add(cotangents.meta, through.reach(dense(to_meta)))


def _add(left: Structure, right: Structure) -> Structure:
    """Add two cotangents of the same thing; ``None`` on the right is a path that does not exist."""
    return tf.nest.map_structure(lambda a, b: a if b is None else a + b, left, right)

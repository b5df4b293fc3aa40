"""The backward pass over the inner steps, and the pullbacks of one step.

The forward pass stores only the inner loop's state ``(theta_k, s_k, m_k)``. The backward pass visits the
steps from last to first with the cotangents of the state after step k and of phi; a :data:`Pullback` maps
them to those of the state before step k and of phi. Estimators differ only in the pullback of a step.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from metalearn.autodiff import require_connected
from metalearn.autodiff.gradients import dense
from metalearn.estimators import recomputation
from metalearn.estimators.cotangents import Cotangents, added, floating, packed, pairs
from metalearn.estimators.protocol import average, leaves_used
from metalearn.estimators.working_set import WorkingSet, working_set
from metalearn.execution.choice import chosen, resolved
from metalearn.execution.chunks import in_chunks
from metalearn.execution.layout import Layout, Program, run
from metalearn.execution.low_rank import represented
from metalearn.execution.mean import Addends, addends, mean_over_tasks
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import (
    Step,
    inner_gradient,
    inner_start,
    inner_step,
    outer_loss,
    step_number,
    weighted_outer_loss,
)
from metalearn.nest import label, names
from metalearn.types import Inner, Meta, MetaGradient, Problem, Task


@dataclasses.dataclass(frozen=True)
class Pass:
    """One backward pass: its problem and phi, and the leaves of phi to which it has found a path.

    Attributes:
        problem: the bilevel problem.
        phi: the meta-parameters.
        reached: the names of the leaves with a path, collected while the graph is built.
    """

    problem: Problem
    phi: Meta
    reached: set[str] = dataclasses.field(default_factory=set)

    def reach(self, to_phi: Meta) -> Meta:
        """Record the leaves of a cotangent of phi that are not None, and return the cotangent."""
        named = zip(names(to_phi), tf.nest.flatten(to_phi), strict=True)
        self.reached.update(name for name, leaf in named if leaf is not None)
        return to_phi

    def missing(self) -> list[str]:
        """Return the names of the leaves of phi without a path."""
        return [name for name in names(self.phi) if name not in self.reached]


Carried = tuple[tf.Tensor, Cotangents]
"""The meta-loss of one task and its cotangents at the current step of the backward pass."""

Pullback = Callable[[Pass, Inner, Cotangents, Task, Step], Cotangents]
"""``(pass, state before step k, cotangents after it, task, k) -> cotangents before it``."""


def reverse(
    problem: Problem,
    phi: Meta,
    tasks: Task,
    phases: Sequence[tuple[int, Pullback]],
    *,
    zero_unreached: bool = False,
    states: int | None = None,
) -> MetaGradient:
    """Return the meta-gradient, computed by a backward pass over the steps.

    Args:
        problem: the bilevel problem.
        phi: the meta-parameters.
        tasks: leaves ``[T, ...]``.
        phases: ``(number of steps, their pullback)``, from the last steps to the first; the numbers sum to
            ``problem.steps``.
        zero_unreached: whether the gradient is zero for leaves of phi without a path, instead of an error.
        states: the number of states of the inner loop that are stored at a time, if there is one phase; all
            by default.

    Raises:
        ValueError: naming the leaves of phi without a path, unless ``zero_unreached``.
    """
    if resolved(problem.mapping) == "auto":
        again = functools.partial(reverse, zero_unreached=zero_unreached, states=states)
        return chosen(lambda: again(problem, phi, tasks, phases))
    through = Pass(problem, phi)
    together = working_set(problem, phi, tasks)
    program = _program(through, phases, states, together)

    def of_some(tasks: Task) -> tuple[tuple[Any, ...], Meta]:
        def started(task: Task) -> Inner:
            return inner_start(problem, phi, task)

        # Where kernels are represented by products, the tasks share theta_0, and the program begins with it.
        start = () if together.products else map_tasks(started, tasks, mapping=problem.mapping)
        loss, (gradient, as_sums), *others = run(problem, program, start, tasks)
        return (loss, gradient, *others), mean_over_tasks(gradient, as_sums)

    with represented(problem.steps if together.products else None):
        result, mean = in_chunks(of_some, tasks, together.tasks)
    if not zero_unreached:
        _require_reached(through, tasks)
    return average(problem, tasks, *result, mean=mean)


def _program(
    through: Pass, phases: Sequence[tuple[int, Pullback]], states: int | None, together: WorkingSet
) -> Program:
    """Return the program ``(layout, start or (), tasks) -> (loss, gradient, last state, metrics)``.

    Parameters named in ``together.shared`` begin without copies for the tasks, whatever ``start`` contains.
    """
    problem = through.problem

    def begun(start: Inner | tuple[()], task: Task) -> Inner:
        anew = inner_start(problem, through.phi, task)
        if not start:
            return anew
        common = {name: anew.parameters[name] for name in together.shared}
        return start._replace(parameters={**start.parameters, **common})

    def program(layout: Layout, start: Inner | tuple[()], tasks: Task) -> tuple[Any, ...]:
        def forward(inner: Inner, index: Step) -> Inner:
            return layout.each(
                lambda inner, task: inner_step(problem, inner, through.phi, task, index), inner, tasks
            )

        def backward(pullback: Pullback, inner: Inner, carry: Carried, step: Step) -> Carried:
            def of_one_task(inner: Inner, loss: tf.Tensor, cotangents: Cotangents, task: Task) -> Carried:
                cotangents = pullback(through, inner, cotangents, task, step)
                if problem.step_weights is None:
                    return loss, cotangents
                more, _, further = through_outer(through, inner, task, step)
                return loss + more, added(cotangents, further)

            return layout.each(of_one_task, inner, *carry, tasks)

        def ended(last: Inner) -> Any:
            outer = functools.partial(through_outer, through, step=problem.steps)
            loss, metrics, cotangents = layout.each(outer, last, tasks)
            return (loss, cotangents), metrics

        first: Inner = start if start and not together.shared else layout.each(begun, start, tasks)
        functions = forward, backward, ended
        last, metrics, (loss, cotangents) = _swept(layout, functions, first, problem.steps, phases, states)

        def at_start(cotangents: Cotangents, task: Task) -> tuple[Meta, list[Addends | tuple[()]]]:
            gradient = through_start(through, cotangents, task)
            return gradient, addends(gradient, together.tasks, problem.mapping)

        return loss, layout.each(at_start, cotangents, tasks), last, metrics

    return program


def _swept(
    layout: Layout,
    functions: tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]],
    start: Inner,
    remaining: int,
    phases: Sequence[tuple[int, Pullback]],
    states: int | None,
) -> tuple[Inner, dict[str, tf.Tensor], Carried]:
    """Return the last state, the metrics and the carry after the forward pass and all backward phases."""
    forward, backward, ended = functions
    if states is not None and states < remaining:
        plan = recomputation.schedule(remaining, states)
        last, stored = recomputation.forward(forward, start, plan)
        carry, metrics = ended(last)
        pull = functools.partial(backward, phases[0][1])
        return last, metrics, recomputation.backward(forward, pull, stored, start, carry, plan)
    last, before = layout.scan(forward, start, remaining)
    carry, metrics = ended(last)

    for steps, pullback in phases:
        if steps:
            carry = layout.back(functools.partial(backward, pullback), before, carry, remaining, steps)
        remaining -= steps
    return last, metrics, carry


def _require_reached(through: Pass, tasks: Task) -> None:
    """Raise ValueError naming the leaves of phi without a path, or whose path the estimator removes."""
    missing = through.missing()
    if not missing:
        return
    problem, phi = through.problem, through.phi
    one = tf.nest.map_structure(lambda leaf: leaf[0], tasks)

    def exact(phi: Meta) -> tf.Tensor:
        inner = inner_start(problem, phi, one)
        # Two steps, because the state of a rule first has an effect in the second.
        for index in range(min(problem.steps, 2)):
            inner = inner_step(problem, inner, phi, one, index)
        return outer_loss(problem, inner.parameters, phi, one, inner.model)[0]

    try:
        paths = leaves_used(exact, phi)
    except LookupError:  # an operation without a second derivative
        paths = []
    cut_off = [label(name) for name in missing if name in paths]
    if cut_off:
        raise ValueError(
            f"no gradient reaches {', '.join(cut_off)}: the meta-loss depends on it only through inner "
            "gradients, which the estimator treats as constants. Use an estimator that differentiates them, "
            "such as checkpointed, or leave it out"
        )
    require_connected(phi, [None if name in missing else name for name in names(phi)])


def cut(through: Pass, inner: Inner, cotangents: Cotangents, task: Task, index: Step) -> Cotangents:
    """Pull back through the rule only: the inner gradient and the model's state are treated as constants."""
    problem, phi, step = through.problem, through.phi, step_number(task, index)
    batch = problem.batch(task, step)
    _, model, gradients = inner_gradient(problem, inner.parameters, phi, batch, inner.model)

    def updated(inner: Inner, phi: Meta) -> Inner:
        moved = problem.rule.update(
            gradients, inner.rule, inner.parameters, problem.hyperparameters(phi), step
        )
        return Inner(*moved, model, ())

    return _pulled(through, updated, inner, cotangents)


def rematerialised(
    through: Pass, inner: Inner, cotangents: Cotangents, task: Task, index: Step
) -> Cotangents:
    """Pull back exactly, by rematerialising the whole step under a tape."""
    return _pulled(
        through,
        lambda inner, phi: inner_step(through.problem, inner, phi, task, index),
        inner,
        cotangents,
    )


def through_outer(
    through: Pass, inner: Inner, task: Task, step: Step
) -> tuple[tf.Tensor, dict[str, tf.Tensor], Cotangents]:
    """Return the term of theta_k in the meta-loss of one task, the metrics at theta_k, and the cotangents."""
    differentiable = floating((inner.parameters, inner.model))
    with tf.GradientTape() as tape:
        tape.watch((differentiable, through.phi))
        loss, metrics = weighted_outer_loss(
            through.problem, inner.parameters, through.phi, task, inner.model, step
        )
    found, to_phi = dense(tape.gradient(loss, (differentiable, through.phi)))
    to_parameters, to_model = packed((inner.parameters, inner.model), found)
    zeros = tf.nest.map_structure(tf.zeros_like, Cotangents(inner, through.phi))
    to_inner = Inner(
        added(zeros.inner.parameters, to_parameters), zeros.inner.rule, added(zeros.inner.model, to_model), ()
    )
    return loss, metrics, Cotangents(to_inner, added(zeros.phi, through.reach(to_phi)))


def through_start(through: Pass, cotangents: Cotangents, task: Task) -> Meta:
    """Return the cotangent of phi that includes the path through the inner loop's start."""
    with tf.GradientTape() as tape:
        tape.watch(through.phi)
        started = inner_start(through.problem, through.phi, task)
    outputs, given = pairs(started, cotangents.inner)
    to_phi = dense(tape.gradient(outputs, through.phi, output_gradients=given))
    return added(cotangents.phi, through.reach(to_phi))


def _pulled(
    through: Pass, function: Callable[[Inner, Meta], Inner], inner: Inner, cotangents: Cotangents
) -> Cotangents:
    """Return the cotangents of ``(inner, phi)``, given those of ``function(inner, phi)``."""
    differentiable = floating(inner)
    with tf.GradientTape() as tape:
        tape.watch((differentiable, through.phi))
        updated = function(inner, through.phi)
    outputs, given = pairs(updated, cotangents.inner)
    found, to_phi = dense(tape.gradient(outputs, (differentiable, through.phi), output_gradients=given))
    zeros = tf.nest.map_structure(tf.zeros_like, inner)
    return Cotangents(added(zeros, packed(inner, found)), added(cotangents.phi, through.reach(to_phi)))

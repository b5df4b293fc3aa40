"""The bilevel problem that every algorithm here is a configuration of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf

from metalearn.autodiff import value_and_gradient
from metalearn.checks import require_count
from metalearn.execution.loops import fold, scan
from metalearn.execution.task_map import map_tasks as map_tasks
from metalearn.execution.task_map import require_mapping
from metalearn.types import Batch, Meta, Parameters, Rule, Structure, Task, TaskMapping

BilevelLoss = Callable[[Parameters, Meta, Batch], tf.Tensor]

Inner = tuple[Parameters, Structure]
"""What the inner loop carries from step to step: theta_k and the rule's state s_k."""

Step: TypeAlias = "int | tf.Tensor"
"""An inner step, counted from 0: an int in a Python loop, a scalar tensor in a graph loop."""


@dataclasses.dataclass(frozen=True)
class BilevelProblem:
    """An inner problem solved by ``steps`` updates, inside an outer one.

    ::

        theta_0              = closed_form(initialize(phi), phi, support)
        theta_{k+1}, s_{k+1} = rule.update(grad_theta inner_loss(theta_k, phi, support_k), s_k, theta_k,
                                           hyperparameters(phi), k)
        meta-loss            = outer_loss(theta_K, phi, query)

    or, given ``step_weights``, the sum over k of ``step_weights[k] outer_loss(theta_k, phi, query)``.

    Attributes:
        initialize: ``phi -> theta_0``.
        inner_loss: ``(theta, phi, support) -> scalar``; may depend on phi.
        outer_loss: ``(theta, phi, query) -> scalar``.
        rule: the inner update.
        steps: K, at least 0.
        hyperparameters: ``phi -> what rule.update takes``.
        per_step_support: whether each inner step has a mini-batch of its own. Support leaves are then
            ``[T, S, N, ...]`` and step k takes slice ``k mod S``: steps beyond the last slice begin again
            with the first, like epochs over a data set of S batches. Usually S = K.
        mapping: how functions of one task are mapped over tasks, see :func:`metalearn.mapping.map_tasks`.
        closed_form: ``(theta, phi, support) -> theta_0``: what is solved for without iterating; None for
            theta_0 = initialize(phi).
        step_weights: ``[K+1]``, of theta_0, ..., theta_K in the meta-loss; None for theta_K alone.

    Raises:
        ValueError: if ``steps`` is negative or ``mapping`` is not known.

    Reference: Franceschi et al. (2018), "Bilevel Programming for Hyperparameter Optimization and
    Meta-Learning", equations 3 and 4.
    """

    initialize: Callable[[Meta], Parameters]
    inner_loss: BilevelLoss
    outer_loss: BilevelLoss
    rule: Rule
    steps: int
    hyperparameters: Callable[[Meta], Structure] = lambda meta: meta["rule"]
    per_step_support: bool = False
    mapping: TaskMapping = "vectorized"
    closed_form: Callable[[Parameters, Meta, Batch], Parameters] | None = None
    step_weights: tf.Tensor | None = None

    def __post_init__(self) -> None:
        require_count("steps", self.steps, minimum=0)
        require_mapping(self.mapping)

    def map(self, function: Callable[..., Any], *arguments: Structure) -> Structure:
        """Apply a function of one task to all, ``[T, ...]``, the way ``mapping`` says."""
        return map_tasks(function, *arguments, mapping=self.mapping)


def step_support(problem: BilevelProblem, support: Batch, step: Step) -> Batch:
    """Return the support examples ``[N, ...]`` of one task that inner step ``step`` is taken on."""
    if not problem.per_step_support:
        return support
    return tf.nest.map_structure(lambda leaf: leaf[step % _slices(leaf)], support)


def inner_objective(problem: BilevelProblem, parameters: Parameters, meta: Meta, support: Batch) -> tf.Tensor:
    """Return the whole inner loss of one task: its mean over the mini-batches if each step has its own."""
    if not problem.per_step_support:
        return problem.inner_loss(parameters, meta, support)
    slices = _slices(support.inputs)
    # Not a map: gradients of this are taken from outside, which a map does not allow under XLA.
    losses = [
        problem.inner_loss(parameters, meta, step_support(problem, support, index)) for index in range(slices)
    ]
    return tf.add_n(losses) / slices


def weighted_outer_loss(
    problem: BilevelProblem, parameters: Parameters, meta: Meta, query: Batch, step: Step
) -> tf.Tensor:
    """Return what theta_k, k = ``step``, contributes to the meta-loss of one task."""
    loss = problem.outer_loss(parameters, meta, query)
    if problem.step_weights is None:
        return loss
    return tf.cast(tf.gather(problem.step_weights, step), loss.dtype) * loss


def inner_gradient(
    problem: BilevelProblem, parameters: Parameters, meta: Meta, support: Batch
) -> tuple[tf.Tensor, Parameters]:
    """Return the inner loss at ``parameters`` on one step's examples, and its gradient with respect to them.

    Raises:
        ValueError: naming the parameters that the inner loss does not depend on.
    """
    return value_and_gradient(lambda parameters: problem.inner_loss(parameters, meta, support), parameters)


def inner_start(problem: BilevelProblem, meta: Meta, support: Batch) -> Inner:
    """Return theta_0 and the rule's initial state for one task."""
    # A tape tells tensors apart by identity: theta_0 may equal a leaf of phi, it must not be that leaf.
    parameters = tf.nest.map_structure(tf.identity, problem.initialize(meta))
    if problem.closed_form is not None:
        parameters = problem.closed_form(parameters, meta, support)
    return parameters, problem.rule.init(parameters)


def inner_step(problem: BilevelProblem, inner: Inner, meta: Meta, support: Batch, step: Step) -> Inner:
    """Return parameters and rule state after inner step ``step`` (counted from 0) on a task's ``support``."""
    parameters, state = inner
    _, gradients = inner_gradient(problem, parameters, meta, step_support(problem, support, step))
    return problem.rule.update(gradients, state, parameters, problem.hyperparameters(meta), step)


def solve(
    problem: BilevelProblem,
    meta: Meta,
    tasks: Task,
    steps: int,
    measure: Callable[[Parameters, Task], Structure],
) -> tuple[Parameters, Structure]:
    """Run the inner loop on every task, measuring before each step and after the last.

    Args:
        problem: its ``steps`` is not used.
        meta: phi.
        tasks: leaves ``[T, N, ...]``; steps are taken on the support.
        steps: K, at least 0.
        measure: ``(theta_k, task) -> nested tensors`` of one task.

    Returns:
        theta_K, ``[T, ...]``, and the measurements, ``[T, K+1, ...]``.
    """

    def measured(parameters: Parameters) -> Structure:
        return problem.map(measure, parameters, tasks)

    def advance(carry: Structure, step: tf.Tensor) -> Structure:
        inner, _ = carry
        inner = problem.map(
            lambda inner, support: inner_step(problem, inner, meta, support, step), inner, tasks.support
        )
        return inner, measured(inner[0])

    start = problem.map(lambda support: inner_start(problem, meta, support), tasks.support)
    carry = start, measured(start[0])
    ((parameters, _), last), before = scan(advance, carry, steps, in_graph=True)
    _, earlier = before(slice(None))
    return parameters, tf.nest.map_structure(
        lambda steps, last: tf.concat([tf.experimental.numpy.moveaxis(steps, 0, 1), last[:, None]], 1),
        earlier,
        last,
    )


def _slices(leaf: tf.Tensor) -> int:
    """Return S, the number of mini-batches of one task's support.

    Raises:
        ValueError: if the shape does not tell.
    """
    if leaf.shape.rank is None or leaf.shape.rank < 2 or not leaf.shape[0]:
        raise ValueError(
            f"per_step_support=True needs support of a known shape [T, S, N, ...] for S mini-batches of N "
            f"examples, but one task's has the shape {leaf.shape}"
        )
    return leaf.shape[0]


def advance(
    problem: BilevelProblem, meta: Meta, each: Any, in_graph: bool, start: Inner, support: Batch
) -> Inner:
    """Return ``(theta_K, s_K)``, within a program: all inner steps, none remembered."""

    def body(inner: Inner, step: Any) -> Inner:
        return each(lambda inner, support: inner_step(problem, inner, meta, support, step), inner, support)

    return fold(body, start, problem.steps, in_graph=in_graph)

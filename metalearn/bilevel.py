"""The bilevel problem that every algorithm here is a configuration of, and the map over tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metalearn.arguments import require_count
from metalearn.derivatives import value_and_gradient
from metalearn.loops import scan
from metalearn.types import Batch, Meta, Parameters, Rule, Structure, Task

BilevelLoss = Callable[[Parameters, Meta, Batch], tf.Tensor]

Inner = tuple[Parameters, Structure]
"""What the inner loop carries from step to step: theta_k and the rule's state s_k."""


@dataclasses.dataclass(frozen=True)
class BilevelProblem:
    """An inner problem solved by ``steps`` updates, inside an outer one.

    ::

        theta_0              = initialize(phi)
        theta_{k+1}, s_{k+1} = rule.update(grad_theta inner_loss(theta_k, phi, support), s_k, theta_k,
                                           hyperparameters(phi), k)
        meta-loss            = outer_loss(theta_K, phi, query)

    Attributes:
        initialize: ``phi -> theta_0``.
        inner_loss: ``(theta, phi, support) -> scalar``; may depend on phi.
        outer_loss: ``(theta, phi, query) -> scalar``.
        rule: the inner update.
        steps: K, at least 0.
        hyperparameters: ``phi -> what rule.update takes``.

    Reference: Franceschi et al. (2018), "Bilevel Programming for Hyperparameter Optimization and
    Meta-Learning", equations 3 and 4.
    """

    initialize: Callable[[Meta], Parameters]
    inner_loss: BilevelLoss
    outer_loss: BilevelLoss
    rule: Rule
    steps: int
    hyperparameters: Callable[[Meta], Structure] = lambda meta: meta["rule"]

    def __post_init__(self) -> None:
        require_count("steps", self.steps, minimum=0)


def inner_gradient(
    problem: BilevelProblem, parameters: Parameters, meta: Meta, support: Batch
) -> tuple[tf.Tensor, Parameters]:
    """Return the inner loss at ``parameters`` and its gradient with respect to them.

    Raises:
        ValueError: naming the parameters that the inner loss does not depend on.
    """
    return value_and_gradient(lambda parameters: problem.inner_loss(parameters, meta, support), parameters)


def inner_start(problem: BilevelProblem, meta: Meta) -> Inner:
    """Return theta_0 and the rule's initial state."""
    # A tape tells tensors apart by identity: theta_0 may equal a leaf of phi, it must not be that leaf.
    parameters = tf.nest.map_structure(tf.identity, problem.initialize(meta))
    return parameters, problem.rule.init(parameters)


def inner_step(
    problem: BilevelProblem, inner: Inner, meta: Meta, support: Batch, step: int | tf.Tensor
) -> Inner:
    """Return parameters and rule state after inner step ``step`` (counted from 0)."""
    parameters, state = inner
    _, gradients = inner_gradient(problem, parameters, meta, support)
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
        return map_tasks(measure, parameters, tasks)

    def advance(carry: Structure, step: tf.Tensor) -> Structure:
        inner, _ = carry
        inner = map_tasks(
            lambda inner, support: inner_step(problem, inner, meta, support, step), inner, tasks.support
        )
        return inner, measured(inner[0])

    start = map_tasks(lambda _: inner_start(problem, meta), tasks)
    carry = start, measured(start[0])
    ((parameters, _), last), before = scan(advance, carry, steps, in_graph=True)
    _, earlier = before(slice(None))
    return parameters, tf.nest.map_structure(
        lambda steps, last: tf.concat([tf.experimental.numpy.moveaxis(steps, 0, 1), last[:, None]], 1),
        earlier,
        last,
    )


def map_tasks(function: Callable[..., Any], *arguments: Structure) -> Structure:
    """Apply ``function`` to every task (axis 0 of every leaf) in one vectorised program.

    Take gradients inside ``function``: a tape around this map makes XLA compile anew for every batch.
    """
    of_one_task = tf.autograph.experimental.do_not_convert(lambda stacked: function(*stacked))
    return tf.vectorized_map(of_one_task, arguments, fallback_to_while_loop=False)

"""Diagnostics of long inner loops: growth of the cotangent, and variance of estimates at equal cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.diagnostics.angles import Metrics, flat, norm
from metalearn.estimators import Estimator
from metalearn.estimators.backward import Pass, rematerialised, through_outer
from metalearn.estimators.cotangents import Cotangents, floating
from metalearn.execution.layout import Layout, run
from metalearn.execution.loops import fold
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import Step, counted, inner_start, inner_step
from metalearn.random import fold_in
from metalearn.types import Inner, Meta, Problem, Seed, Task


def cotangent_growth(problem: Problem, phi: Meta, tasks: Task) -> tf.Tensor:
    """Return ``|d outer_loss(theta_K) / d (theta_k, s_k, m_k)|`` for k = 0, ..., K, of each task.

    If the steps are contractions, the norms decrease towards the start of the loop. If they grow by a
    constant factor in every step, the meta-gradient explodes with the horizon and its direction is dominated
    by rounding: shorten the horizon, lower the inner rate, or use an estimator of the smoothed loss
    (``persistent_evolution``).

    Args:
        problem: the bilevel problem; its ``step_weights`` are ignored.
        phi: the meta-parameters.
        tasks: leaves ``[T, ...]``.

    Returns:
        ``[T, K+1]``, norms over parameters, state of the rule and state of the model together.

    Reference: Metz et al. (2019), "Understanding and Correcting Pathologies in the Training of Learned
    Optimizers", section 2.2 and figure 1.
    """
    tasks, through = counted(tasks), Pass(problem, phi)
    start = map_tasks(lambda task: inner_start(problem, phi, task), tasks, mapping=problem.mapping)

    def length(cotangents: Cotangents) -> tf.Tensor:
        return norm(flat(floating(cotangents.inner)))

    def program(layout: Layout, start: Inner, tasks: Task) -> tf.Tensor:
        def forward(inner: Inner, index: Step) -> Inner:
            return layout.each(lambda inner, task: inner_step(problem, inner, phi, task, index), inner, tasks)

        def backward(inner: Inner, carry: Any, step: Step) -> Any:
            cotangents, lengths = carry

            def pulled(inner: Inner, cotangents: Cotangents, task: Task) -> Any:
                cotangents = rematerialised(through, inner, cotangents, task, step)
                return cotangents, length(cotangents)

            cotangents, found = layout.each(pulled, inner, cotangents, tasks)
            return cotangents, tf.tensor_scatter_nd_update(lengths, [[step]], found[None])

        def ended(last: Inner, task: Task) -> Any:
            cotangents = through_outer(through, last, task, problem.steps)[2]
            return cotangents, length(cotangents)

        last, before = layout.scan(forward, start, problem.steps)
        cotangents, found = layout.each(ended, last, tasks)
        # The axis of steps is first, because their loop is outside; the axis of tasks, if any, is second.
        lengths = tf.repeat(found[None], problem.steps + 1, 0)
        carry = cotangents, lengths
        return tf.transpose(layout.back(backward, before, carry, problem.steps, problem.steps)[1])

    return run(problem, program, start, tasks, fused=False)


class Compared(NamedTuple):
    """An estimator for :func:`variance_at_equal_cost`, and the cost of a call.

    Attributes:
        estimator: the estimator.
        cost: the cost of a call in the same unit for all estimators: seconds, or inner steps.
    """

    estimator: Estimator
    cost: float


def variance_at_equal_cost(
    problem: Problem,
    phi: Meta,
    tasks: Task,
    compared: Mapping[str, Compared],
    calls: int,
    seed: Seed = (0, 0),
) -> Metrics:
    """Return each estimator's variance times its cost, and the distance of its mean from the first one's.

    ::

        variance/NAME     cost tr(Cov(g)), over calls with different seeds
        distance/NAME     |mean of g - mean of the first one's g|

    An average of n calls has 1/n of the variance at n times the cost, so the estimator with the smaller
    product is better for any budget. The carry of an estimator is passed from call to call with constant phi,
    so the variance of persistent evolution is that over all its windows.

    Args:
        problem: the bilevel problem.
        phi: the meta-parameters.
        tasks: leaves ``[T, ...]``, the same in all calls.
        compared: the estimators by name; the first one is the reference.
        calls: the number of calls of each, at least 2.
        seed: the seed of the calls' seeds.

    Raises:
        ValueError: if ``calls`` is below 2.
    """
    require_count("calls", calls, minimum=2)
    tasks, found, reference = counted(tasks), {}, None
    for name, (estimator, cost) in compared.items():

        def body(carry: Any, call: Step, estimator: Estimator = estimator) -> Any:
            carried, mean, squares = carry
            result, carried = estimator(problem, phi, tasks, carried, fold_in(seed, call))
            away = flat(result.gradient) - mean
            after = mean + away / tf.cast(call + 1, mean.dtype)
            return carried, after, squares + tf.reduce_sum(away * (flat(result.gradient) - after))

        zero = tf.zeros_like(flat(phi))
        begun = estimator.init(problem, phi, tasks), zero, tf.reduce_sum(zero)
        _, mean, squares = fold(body, begun, calls, in_graph=True)
        reference = mean if reference is None else reference
        found[f"variance/{name}"] = cost * squares / (calls - 1)
        found[f"distance/{name}"] = norm(mean - reference)
    return found

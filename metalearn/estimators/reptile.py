"""Reptile: the initial parameters follow the adapted ones."""

from __future__ import annotations

import tensorflow as tf

from metalearn.estimators.backward import Cotangents, Pass, through_start
from metalearn.estimators.protocol import Estimator, average, leaves_used
from metalearn.execution.layout import Each, run
from metalearn.nest import names
from metalearn.problems.bilevel import BilevelProblem, Inner, advance, inner_start
from metalearn.types import Batch, Meta, MetaGradient, Parameters, Task


def reptile() -> Estimator:
    """Return the estimator that moves theta_0 towards where the inner loop takes it.

    ::

        (d theta_0 / d phi)' (theta_0 - theta_K)        which is  theta_0 - theta_K  where phi is theta_0

    averaged over the tasks. It is a displacement, not the gradient of a loss: an outer learning rate of 1
    with plain descent puts theta_0 at the mean of the adapted parameters. It is not divided by the inner
    rate. The query examples give the reported meta-loss and nothing else.

    It refuses phi that theta_0 does not depend on: learned hyperparameters of the rule, parameters that
    are not adapted.

    Reference: Nichol, Achiam and Schulman (2018), "On First-Order Meta-Learning Algorithms", algorithm 2.
    """

    def estimate(problem: BilevelProblem, meta: Meta, tasks: Task) -> MetaGradient:
        through = Pass(problem, meta)
        start = problem.map(lambda support: inner_start(problem, meta, support), tasks.support)

        def displacement(start: Inner, last: Inner, support: Batch) -> Meta:
            moved = tf.nest.map_structure(tf.subtract, start[0], last[0])
            rest = tf.nest.map_structure(tf.zeros_like, (start[1], meta))
            return through_start(through, Cotangents(moved, *rest), support)

        def program(
            each: Each, in_graph: bool, start: Inner, tasks: Task
        ) -> tuple[tf.Tensor, Meta, Parameters]:
            last = advance(problem, meta, each, in_graph, start, tasks.support)
            loss = each(lambda last, query: problem.outer_loss(last[0], meta, query), last, tasks.query)
            return loss, each(displacement, start, last, tasks.support), last[0]

        return average(*run(problem, program, start, tasks))

    return Estimator(estimate, _check, second_order=False)


def _check(problem: BilevelProblem, meta: Meta) -> None:
    if problem.closed_form is not None:
        raise ValueError(
            "the estimator reptile moves initial parameters towards the adapted ones, and the closed form (a "
            "head like ridge) makes them anew in every task: leave it out, or use the estimator mixed_mode"
        )
    used = leaves_used(problem.initialize, meta)
    missing = [name for name in names(meta) if name not in used]
    if missing:
        raise ValueError(
            f"the estimator reptile has nothing for {', '.join(missing)}: it moves initial parameters "
            "towards the adapted ones, and these are not adapted. Adapt all parameters (adapted='all') "
            "and give the rule numbers instead of learned hyperparameters, or use the estimator mixed_mode"
        )

"""No meta-learning: the baseline that starts every task from where it was initialised."""

from __future__ import annotations

import tensorflow as tf

from metalearn.estimators.protocol import Estimator, average
from metalearn.execution.layout import Each, run
from metalearn.problems.bilevel import BilevelProblem, Inner, advance, inner_start
from metalearn.types import Meta, MetaGradient, Parameters, Task


def frozen() -> Estimator:
    """Return the estimator of a zero meta-gradient: phi stays as it is.

    Tasks are adapted to and their meta-losses reported, as by the others.

    Reference: the baseline "train from scratch" of few-shot learning; the lower end of every comparison.
    """

    def estimate(problem: BilevelProblem, meta: Meta, tasks: Task) -> MetaGradient:
        def program(
            each: Each, in_graph: bool, start: Inner, tasks: Task
        ) -> tuple[tf.Tensor, Meta, Parameters]:
            last = advance(problem, meta, each, in_graph, start, tasks.support)
            loss = each(lambda last, query: problem.outer_loss(last[0], meta, query), last, tasks.query)
            return loss, each(lambda _: tf.nest.map_structure(tf.zeros_like, meta), loss), last[0]

        start = problem.map(lambda support: inner_start(problem, meta, support), tasks.support)
        return average(*run(problem, program, start, tasks))

    return Estimator(estimate, second_order=False)

"""No meta-learning: the baseline that starts every task from the initial meta-parameters."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from metalearn.estimators.protocol import Carry, Estimator, average, prepared
from metalearn.execution.layout import Layout, run
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import advance, inner_start, outer_loss
from metalearn.types import Inner, Meta, MetaGradient, Problem, Seed, Task


@dataclasses.dataclass(frozen=True)
class frozen(Estimator):
    """The estimator of a zero meta-gradient, with which phi stays constant.

    The inner loop runs and meta-losses are reported, as with other estimators.

    Reference: the baseline "train from scratch" of few-shot learning.
    """

    second_order = False

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return zeros for every leaf of phi, and an empty carry; see :class:`Estimator`."""
        tasks = prepared(self, problem, phi, tasks)

        def program(layout: Layout, start: Inner, tasks: Task) -> tuple[Any, ...]:
            last = advance(problem, phi, layout, start, tasks)
            loss, metrics = layout.each(
                lambda last, task: outer_loss(problem, last.parameters, phi, task, last.model), last, tasks
            )
            zeros = layout.each(lambda _: tf.nest.map_structure(tf.zeros_like, phi), loss)
            return loss, zeros, last, metrics

        start = map_tasks(lambda task: inner_start(problem, phi, task), tasks, mapping=problem.mapping)
        return average(problem, tasks, *run(problem, program, start, tasks)), ()

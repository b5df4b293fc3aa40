"""Reptile: the initial parameters follow the adapted ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from metalearn.estimators.backward import Pass, through_start
from metalearn.estimators.cotangents import Cotangents
from metalearn.estimators.protocol import (
    Carry,
    Estimator,
    average,
    leaves_used,
    prepared,
    require_step_weights,
)
from metalearn.execution.layout import Layout, run
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import advance, inner_start, outer_loss
from metalearn.nest import names
from metalearn.types import Inner, Meta, MetaGradient, Problem, Seed, Task


@dataclasses.dataclass(frozen=True)
class reptile(Estimator):
    """The estimator that moves theta_0 towards the adapted parameters.

    ::

        (d theta_0 / d phi)' (theta_0 - theta_K)        which is  theta_0 - theta_K  where phi is theta_0

    averaged over the tasks. It is a displacement, not the gradient of a loss: with gradient descent and an
    outer learning rate of 1, theta_0 becomes the mean of the adapted parameters. It is not divided by the
    inner rate. The query examples are only used for the reported meta-loss.

    It rejects leaves of phi on which theta_0 does not depend (learned hyperparameters of the rule, parameters
    that are not adapted), and an inner loop that is continued.

    Reference: Nichol, Achiam and Schulman (2018), "On First-Order Meta-Learning Algorithms", algorithm 2.
    """

    second_order = False
    continues = False

    def require(self, problem: Problem, phi: Meta, task: Task) -> None:
        """Raise ValueError for a start in closed form, and for leaves of phi on which it does not depend."""
        require_step_weights(self, problem)
        if problem.solved:
            raise ValueError(
                "the estimator reptile moves initial parameters towards the adapted ones, but a closed "
                "form (a head like ridge) computes them for every task: leave it out, or use the estimator "
                "checkpointed"
            )
        used = leaves_used(lambda phi: problem.start(phi, task), phi)
        missing = [name for name in names(phi) if name not in used]
        if missing:
            raise ValueError(
                f"the estimator reptile cannot learn {', '.join(missing)}: it moves initial parameters "
                "towards the adapted ones, but these are not adapted. Adapt all parameters (adapted='all') "
                "and give the rule numbers instead of learned hyperparameters, or use the estimator "
                "checkpointed"
            )

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the displacement and an empty carry; see :class:`Estimator`."""
        tasks = prepared(self, problem, phi, tasks)
        through = Pass(problem, phi)

        def displacement(start: Inner, last: Inner, task: Task) -> Meta:
            moved = tf.nest.map_structure(tf.subtract, start.parameters, last.parameters)
            rest = tf.nest.map_structure(tf.zeros_like, (start, phi))
            return through_start(through, Cotangents(rest[0]._replace(parameters=moved), rest[1]), task)

        def program(layout: Layout, start: Inner, tasks: Task) -> tuple[Any, ...]:
            last = advance(problem, phi, layout, start, tasks)
            loss, metrics = layout.each(
                lambda last, task: outer_loss(problem, last.parameters, phi, task, last.model), last, tasks
            )
            return loss, layout.each(displacement, start, last, tasks), last, metrics

        start = map_tasks(lambda task: inner_start(problem, phi, task), tasks, mapping=problem.mapping)
        return average(problem, tasks, *run(problem, program, start, tasks)), ()

"""MAML's meta-gradient by nested tapes: one gradient tape around the inner loop, and one in each step.

:class:`unrolled` is the simplest implementation of differentiating through learning. Parameters are tensors
that are passed from step to step, not variables that are assigned. So the outer tape records how every
adapted parameter depends on the initial ones, and its gradient contains the second derivatives of the inner
loss. It is the reference for all other exact estimators.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from metalearn.autodiff import require_connected
from metalearn.autodiff.gradients import dense
from metalearn.estimators.protocol import Carry, Estimator, average, prepared
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import inner_loss, inner_start, step_number, weighted_outer_loss
from metalearn.types import Inner, Meta, MetaGradient, Problem, Seed, Task


@dataclasses.dataclass(frozen=True)
class unrolled(Estimator):
    """The estimator that differentiates through all inner steps by nested gradient tapes.

    It is the exact ``d/d phi outer_loss(theta_K(phi), phi)``. Graph size, compile time and memory grow with
    the number of steps; those of the equivalent :class:`metalearn.estimators.checkpointed` do not.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", equation 4.
    """

    exact = True
    weighs_steps = True

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the meta-gradient and an empty carry; see :class:`Estimator`."""
        tasks = prepared(self, problem, phi, tasks)

        def adapt(phi: Meta, task: Task) -> list[Inner]:
            inner = inner_start(problem, phi, task)
            visited = [inner]
            for index in range(problem.steps):
                step, parameters = step_number(task, index), inner.parameters
                with tf.GradientTape() as inner_tape:
                    inner_tape.watch(parameters)
                    loss, model = inner_loss(problem, parameters, phi, problem.batch(task, step), inner.model)
                gradients = dense(inner_tape.gradient(loss, parameters))
                require_connected(parameters, gradients)
                parameters, rule = problem.rule.update(
                    gradients, inner.rule, parameters, problem.hyperparameters(phi), step
                )
                inner = Inner(parameters, rule, model, ())
                visited.append(inner)
            return visited

        def meta_loss_of(visited: list[Inner], phi: Meta, task: Task) -> tuple[tf.Tensor, Any]:
            counting = list(enumerate(visited))[-1 if problem.step_weights is None else 0 :]
            losses, reported = zip(
                *(
                    weighted_outer_loss(problem, inner.parameters, phi, task, inner.model, step)
                    for step, inner in counting
                ),
                strict=True,
            )
            return losses[0] if len(losses) == 1 else tf.add_n(losses), reported[-1]

        def meta_gradient(task: Task) -> tuple[tf.Tensor, Meta, Inner, dict[str, tf.Tensor]]:
            with tf.GradientTape() as outer_tape:
                outer_tape.watch(phi)
                visited = adapt(phi, task)
                meta_loss, metrics = meta_loss_of(visited, phi, task)
            gradient = dense(outer_tape.gradient(meta_loss, phi))
            require_connected(phi, gradient)
            return meta_loss, gradient, visited[-1], metrics

        return average(problem, tasks, *map_tasks(meta_gradient, tasks, mapping=problem.mapping)), ()

"""MAML's meta-gradient as the textbook has it: one gradient tape around the inner loop, one in each step.

The whole idea of differentiating through learning is in :func:`unrolled`. Parameters are tensors that
flow from step to step, never variables that are assigned, so the outer tape sees how every adapted
parameter depends on the initial ones, and its gradient contains the second derivatives of the inner loss.

All other exact estimators are held to this one.
"""

from __future__ import annotations

import tensorflow as tf

from metalearn.bilevel import BilevelProblem, map_tasks
from metalearn.derivatives import require_connected
from metalearn.estimators.protocol import Estimator, average
from metalearn.types import Batch, Meta, MetaGradient, Parameters, Task


def unrolled() -> Estimator:
    """Return the estimator that differentiates through all inner steps by nested gradient tapes.

    ``d/d phi outer_loss(theta_K(phi), phi, query)``, exactly. Graph, compile time and memory grow with
    the number of steps.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", equation 4.
    """

    def estimate(problem: BilevelProblem, meta: Meta, tasks: Task) -> MetaGradient:
        def adapt(meta: Meta, support: Batch) -> Parameters:
            parameters = problem.initialize(meta)
            state = problem.rule.init(parameters)
            for step in range(problem.steps):
                with tf.GradientTape() as inner_tape:
                    inner_tape.watch(parameters)
                    loss = problem.inner_loss(parameters, meta, support)
                gradients = inner_tape.gradient(loss, parameters)
                parameters, state = problem.rule.update(
                    gradients, state, parameters, problem.hyperparameters(meta), step
                )
            return parameters

        def meta_gradient(task: Task) -> tuple[tf.Tensor, Meta, Parameters]:
            with tf.GradientTape() as outer_tape:
                outer_tape.watch(meta)
                adapted = adapt(meta, task.support)
                meta_loss = problem.outer_loss(adapted, meta, task.query)
            gradient = outer_tape.gradient(meta_loss, meta)
            require_connected(meta, gradient)
            return meta_loss, gradient, adapted

        return average(*map_tasks(meta_gradient, tasks))

    return estimate

"""MAML's meta-gradient as the textbook has it: one gradient tape around the inner loop, one in each step.

The whole idea of differentiating through learning is in :func:`unrolled`. Parameters are tensors that
flow from step to step, never variables that are assigned, so the outer tape sees how every adapted
parameter depends on the initial ones, and its gradient contains the second derivatives of the inner loss.

All other exact estimators are held to this one.
"""

from __future__ import annotations

import tensorflow as tf

from metalearn.autodiff import require_connected
from metalearn.autodiff.gradients import dense
from metalearn.estimators.backward import retraced, reverse
from metalearn.estimators.protocol import Estimator, average
from metalearn.problems.bilevel import BilevelProblem, inner_start, step_support, weighted_outer_loss
from metalearn.types import Batch, Meta, MetaGradient, Parameters, Task


def unrolled(remat: bool = False) -> Estimator:
    """Return the estimator that differentiates through all inner steps by nested gradient tapes.

    ``d/d phi outer_loss(theta_K(phi), phi, query)``, exactly. Graph, compile time and memory grow with
    the number of steps.

    Args:
        remat: keep only theta_k and the rule's state of every step, and repeat the step under its tapes on
            the way back. The same gradient for one more forward pass; the loop over steps is then in the
            graph, and compile time and memory for activations do not grow with the number of steps.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", equation 4; for ``remat``,
    Griewank and Walther (2008), "Evaluating Derivatives", chapter 12.
    """

    def estimate(problem: BilevelProblem, meta: Meta, tasks: Task) -> MetaGradient:
        def adapt(meta: Meta, support: Batch) -> list[Parameters]:
            parameters, state = inner_start(problem, meta, support)
            visited = [parameters]
            for step in range(problem.steps):
                with tf.GradientTape() as inner_tape:
                    inner_tape.watch(parameters)
                    loss = problem.inner_loss(parameters, meta, step_support(problem, support, step))
                gradients = dense(inner_tape.gradient(loss, parameters))
                require_connected(parameters, gradients)
                parameters, state = problem.rule.update(
                    gradients, state, parameters, problem.hyperparameters(meta), step
                )
                visited.append(parameters)
            return visited

        def meta_loss_of(visited: list[Parameters], meta: Meta, query: Batch) -> tf.Tensor:
            if problem.step_weights is None:
                return problem.outer_loss(visited[-1], meta, query)
            steps = enumerate(visited)
            return tf.add_n([weighted_outer_loss(problem, each, meta, query, step) for step, each in steps])

        def meta_gradient(task: Task) -> tuple[tf.Tensor, Meta, Parameters]:
            with tf.GradientTape() as outer_tape:
                outer_tape.watch(meta)
                visited = adapt(meta, task.support)
                meta_loss = meta_loss_of(visited, meta, task.query)
            gradient = dense(outer_tape.gradient(meta_loss, meta))
            require_connected(meta, gradient)
            return meta_loss, gradient, visited[-1]

        return average(*problem.map(meta_gradient, tasks))

    def recompute(problem: BilevelProblem, meta: Meta, tasks: Task) -> MetaGradient:
        return reverse(problem, meta, tasks, [(problem.steps, retraced)], fused=False)

    return Estimator(recompute if remat else estimate, exact=True, weighs_steps=True)

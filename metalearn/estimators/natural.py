"""The natural gradient with respect to the predictions of the adapted parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from metalearn.autodiff.curvature import ggn
from metalearn.autodiff.solvers import conjugate_gradient
from metalearn.checks import require_count, require_positive
from metalearn.estimators.protocol import Carry, Estimator, require_estimator
from metalearn.execution.mean import mean_over_tasks
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import adapted, counted
from metalearn.types import Meta, MetaGradient, Parameters, Problem, Seed, Structure, Task


@dataclasses.dataclass(frozen=True)
class natural(Estimator):
    """The natural gradient from another estimator's meta-gradient g, scaled to a trust region.

    ::

        F        = 1/T sum_t J_t' H_t J_t,      J_t = d outputs(theta_K(phi), task t) / d phi
        d        = (F + damping I)^-1 g                           by conjugate gradients
        gradient = sqrt(2 radius / g'd) d

    H is the Hessian of the divergence at the outputs. If it is a Kullback-Leibler divergence, F is the Fisher
    information, and ``radius`` is to second order the divergence of an update by ``SGD(1.0)``. This is the
    step of TRPO without the line search: a step that increases the loss is not undone.

    Attributes:
        estimator: the estimator of g.
        outputs: ``(theta_K, task) -> nest``, the predictions for one task.
        divergence: ``outputs -> scalar``, the divergence from ``stop_gradient(outputs)``, whose value and
            gradient are 0.
        radius: the divergence of an update, above 0.
        damping: a number added to the diagonal of F, above 0.
        iterations: the number of conjugate-gradient steps, at least 1; each takes three passes through the
            inner loop.

    Raises:
        ValueError: if a number is out of range, or ``estimator`` is not an estimator.

    Reference: Schulman et al. (2015), "Trust Region Policy Optimization", appendix C; Finn, Abbeel and Levine
    (2017), "Model-Agnostic Meta-Learning", section 5.3.
    """

    estimator: Estimator
    outputs: Callable[[Parameters, Task], Structure]
    divergence: Callable[[Structure], tf.Tensor]
    radius: float = 0.01
    damping: float = 1e-3
    iterations: int = 10

    def __post_init__(self) -> None:
        require_estimator("estimator", self.estimator)
        require_positive("radius", self.radius)
        require_positive("damping", self.damping)
        require_count("iterations", self.iterations)

    @property
    def weighs_steps(self) -> bool:  # type: ignore[override]
        """The same as that of the estimator of g."""
        return self.estimator.weighs_steps

    @property
    def continues(self) -> bool:  # type: ignore[override]
        """The same as that of the estimator of g."""
        return self.estimator.continues

    def require(self, problem: Problem, phi: Meta, task: Task) -> None:
        """Raise ValueError if the estimator of g rejects the problem."""
        self.estimator.require(problem, phi, task)

    def init(self, problem: Problem, phi: Meta, tasks: Task) -> Carry:
        """Return the carry of the estimator of g."""
        return self.estimator.init(problem, phi, tasks)

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the estimator's result with the natural gradient, also as the gradient of each task."""
        result, carry = self.estimator(problem, phi, tasks, carry, seed)

        def product(vector: Meta) -> Meta:
            def of_one_task(task: Task) -> Meta:
                def outputs(phi: Meta) -> Structure:
                    return self.outputs(adapted(problem, phi, task), task)

                return ggn(outputs, self.divergence, phi, vector)

            return mean_over_tasks(map_tasks(of_one_task, counted(tasks), mapping=problem.mapping))

        direction = conjugate_gradient(
            product, result.gradient, max_iterations=self.iterations, damping=self.damping
        ).x
        pairs = zip(*map(tf.nest.flatten, (result.gradient, direction)), strict=True)
        slope = tf.add_n([tf.reduce_sum(one * other) for one, other in pairs])
        # The step is zero at a stationary point, where the scale would be infinite.
        scale = tf.where(slope > 0, tf.sqrt(2 * self.radius / tf.where(slope > 0, slope, 1)), 0)
        gradient = tf.nest.map_structure(lambda leaf: scale * leaf, direction)
        of_each = tf.nest.map_structure(
            lambda leaf, like: tf.broadcast_to(leaf, like.shape), gradient, result.per_task
        )
        return result._replace(gradient=gradient, per_task=of_each), carry

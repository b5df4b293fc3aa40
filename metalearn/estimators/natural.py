"""The natural gradient of whatever adapted parameters predict."""

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
    """Another estimator's meta-gradient g, turned and scaled so that ``phi - gradient`` is ``radius`` away.

    ::

        F        = 1/T sum_t J_t' H_t J_t,      J_t = d outputs(theta_K(phi), task t) / d phi
        d        = (F + damping I)^-1 g                           by conjugate gradients
        gradient = sqrt(2 radius / g'd) d

    H is the Hessian of the divergence at the outputs. Where that is a Kullback-Leibler divergence, F is the
    Fisher information, and ``radius`` to second order the divergence of an update by ``SGD(1.0)``. It is the
    step of TRPO without its search along a line: nothing is tried again where the loss did not fall.

    Attributes:
        estimator: of g.
        outputs: ``(theta_K, task) -> nest``, what one task's predictions are made of.
        divergence: ``outputs -> scalar``, from the same outputs as constants, which is 0 and stationary.
        radius: above 0.
        damping: above 0.
        iterations: of conjugate gradients, at least 1; each takes three passes through the inner loop.

    Raises:
        ValueError: if a number is out of range, or ``estimator`` is none.

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
        """As the estimator."""
        return self.estimator.weighs_steps

    @property
    def continues(self) -> bool:  # type: ignore[override]
        """As the estimator."""
        return self.estimator.continues

    def require(self, problem: Problem, phi: Meta, task: Task) -> None:
        """Refuse what the estimator refuses."""
        self.estimator.require(problem, phi, task)

    def init(self, problem: Problem, phi: Meta, tasks: Task) -> Carry:
        """Return the estimator's carry."""
        return self.estimator.init(problem, phi, tasks)

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the estimator's result with another gradient, which is that of each task, too."""
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
        # At a stationary point there is nowhere to go.
        scale = tf.where(slope > 0, tf.sqrt(2 * self.radius / tf.where(slope > 0, slope, 1)), 0)
        gradient = tf.nest.map_structure(lambda leaf: scale * leaf, direction)
        of_each = tf.nest.map_structure(
            lambda leaf, like: tf.broadcast_to(leaf, like.shape), gradient, result.per_task
        )
        return result._replace(gradient=gradient, per_task=of_each), carry

"""Implicit differentiation: the meta-gradient at the solution of the inner problem."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import tensorflow as tf

from metalearn.autodiff import hvp, value_and_gradient
from metalearn.autodiff.gradients import dense
from metalearn.checks import require_count, require_positive
from metalearn.estimators.backward import Pass, through_outer
from metalearn.estimators.cotangents import floating
from metalearn.estimators.linear_systems import Solved, Solver, conjugate_gradients, series
from metalearn.estimators.protocol import (
    Carry,
    Estimator,
    average,
    leaves_used,
    prepared,
    require_step_weights,
)
from metalearn.estimators.step_map import StepMap
from metalearn.execution.layout import Layout, run
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import advance, counted, inner_objective, inner_start
from metalearn.nest import ravel
from metalearn.types import Inner, Meta, MetaGradient, Parameters, Problem, Seed, Structure, Task

Of = Literal["loss", "step"]

Found = tuple[tf.Tensor, Meta, dict[str, tf.Tensor], dict[str, tf.Tensor], Structure]
"""The meta-loss, gradient, metrics, residuals and solution of the linear system of one task."""


@dataclasses.dataclass(frozen=True)
class implicit(Estimator):
    """The estimator that differentiates the inner problem's solution by the implicit function theorem.

    With ``of="loss"`` the solution is a stationary point of the inner loss::

        H v  = grad_theta outer_loss(theta_K, phi),      H = d^2 inner_loss / d theta^2  at theta_K
        d meta-loss / d phi = grad_phi outer_loss  -  (d^2 inner_loss / d theta d phi)' v

    H is the Hessian of the complete inner loss, which includes the proximal term
    (``MetaLearner.proximal``), and has to be positive definite. A proximal term of strength lambda adds
    lambda to every eigenvalue, which neural networks need; without it, theta_0 has no influence on the
    solution, and a learner that adapts all its parameters has nothing to learn. If conjugate gradients
    encounter a direction of negative curvature, v is the best iterate before it: increase ``proximal`` or
    ``damping``. Learned hyperparameters of the rule are rejected, because the solution does not depend on
    how it was reached.

    With ``of="step"`` the solution is a fixed point ``x = step(x, phi)`` of one inner step for parameters and
    states together, as in projected and proximal inner problems, momentum, and equilibrium models::

        (I - J)' v = grad_x outer_loss(x_K, phi),        J = d step / d x  at x_K
        d meta-loss / d phi = grad_phi outer_loss  +  (d step / d phi)' v

    The steps are not stored, so memory does not grow with K. Both are the gradient of the meta-loss only if
    theta_K is a solution; with too few steps, or too few iterations of the solver, they are biased.
    :attr:`MetaGradient.residual` quantifies this: ``stationarity``, the norm of the inner gradient (or of
    ``step(x) - x``); ``solver``, the relative residual of the linear system; ``negative_curvature``, 1 if
    conjugate gradients encountered it.

    Attributes:
        solver: ``"conjugate_gradient"`` (of the normal equations for ``of="step"``, where J is not
            symmetric), or ``"neumann"``: ``v = scale sum_i (I - scale A)^i b``.
        iterations: the number of iterations of conjugate gradients, or of terms of the Neumann series; at
            least 1.
        damping: a number added to the diagonal of H, at least 0. It introduces a bias.
        scale: the scale of the Neumann series, below 2 / (largest eigenvalue of H + damping); required with
            ``of="loss"``, for which the inner learning rate is suitable if gradient descent with it
            converges. With ``of="step"`` it is 1 by default, and the series converges if the inner loop does.
        of: the condition that the solution fulfils: ``"loss"`` (stationarity) or ``"step"`` (fixed point).
        warm_start: whether conjugate gradients start from the solution of the previous call, which is the
            carry, instead of zero. It is for the same tasks in every call, if phi changes little between
            calls, and costs one more product. Non-finite solutions are replaced by zero.

    Raises:
        ValueError: if an argument is out of range, unknown, missing, or does not apply to the solver.

    Reference: Rajeswaran et al. (2019), "Meta-Learning with Implicit Gradients", equations 3 and 6 and
    algorithm 2 (the division by lambda is part of the mixed derivative here); Lorraine, Vicol and Duvenaud
    (2020), "Optimizing Millions of Hyperparameters by Implicit Differentiation", algorithm 3 (neumann);
    Blondel et al. (2022), "Efficient and Modular Implicit Differentiation", section 2.2 (fixed points).
    """

    solver: Solver = "conjugate_gradient"
    iterations: int = 5
    _: dataclasses.KW_ONLY
    damping: float = 0.0
    scale: float | None = None
    of: Of = "loss"

    warm_start: bool = False

    residuals = ("stationarity", "solver", "negative_curvature")

    def __post_init__(self) -> None:
        if self.damping != 0:
            require_positive("damping (0 for none)", self.damping)
        require_count("iterations", self.iterations)
        for name, value, known in (("solver", self.solver, get_args(Solver)), ("of", self.of, get_args(Of))):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if self.scale is not None:
            if self.solver == "conjugate_gradient":
                raise ValueError("scale belongs to the solver neumann, not to conjugate_gradient: omit it")
            require_positive("scale", self.scale)
        if self.warm_start and self.solver != "conjugate_gradient":
            raise ValueError(
                f"warm_start belongs to the solver conjugate_gradient, not to {self.solver}: omit it"
            )
        if self.scale is None and self.solver == "neumann" and self.of == "loss":
            raise ValueError(
                "the solver neumann needs scale, below 2 / (largest eigenvalue of the Hessian of the inner "
                "loss): try the inner learning rate"
            )

    def require(self, problem: Problem, phi: Meta, task: Task) -> None:
        """Raise ValueError for learned hyperparameters of the rule, on which a minimum does not depend."""
        require_step_weights(self, problem)
        learned = leaves_used(problem.hyperparameters, phi) if self.of == "loss" else []
        if learned:
            raise ValueError(
                f"the estimator implicit cannot differentiate {', '.join(learned)}: hyperparameters of the "
                "rule, and the solution of the inner problem does not depend on how it was reached. Give the "
                "rule numbers instead of learned hyperparameters, or use the estimator checkpointed"
            )

    def init(self, problem: Problem, phi: Meta, tasks: Task) -> Carry:
        """Return zeros, the start of the linear system of each task; empty without ``warm_start``."""
        if not self.warm_start:
            return ()
        tasks = counted(tasks)
        begun = map_tasks(lambda task: inner_start(problem, phi, task), tasks, mapping=problem.mapping)
        unknowns = begun.parameters if self.of == "loss" else floating(begun)
        return tf.nest.map_structure(tf.zeros_like, unknowns)

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the meta-gradient, and the solutions of the linear systems if ``warm_start``.

        Raises:
            ValueError: naming the leaves of phi on which the solution does not depend.
        """
        tasks = prepared(self, problem, phi, tasks)
        through = Pass(problem, phi)
        of_one_task = self._of_loss if self.of == "loss" else self._of_step
        start = map_tasks(lambda task: inner_start(problem, phi, task), tasks, mapping=problem.mapping)

        if self.warm_start and carry == ():
            carry = self.init(problem, phi, tasks)
        carry = tf.nest.map_structure(
            lambda leaf: tf.where(tf.math.is_finite(leaf), leaf, tf.zeros_like(leaf)), carry
        )

        def program(layout: Layout, start: Inner, tasks: Task, begin: Carry) -> tuple[Any, ...]:
            last = advance(problem, phi, layout, start, tasks)
            found = layout.each(
                lambda last, task, begin: of_one_task(through, last, task, begin), last, tasks, begin
            )
            loss, gradient, metrics, residual, solution = found
            return (loss, gradient, last, metrics, residual), solution

        result, solution = run(problem, program, start, tasks, carry)
        _require_reached(through)
        return average(problem, tasks, *result), solution if self.warm_start else ()

    def _of_loss(self, through: Pass, last: Inner, task: Task, begin: Carry) -> Found:
        problem, phi = through.problem, through.phi
        if any(leaf.dtype.is_floating for leaf in tf.nest.flatten(last.model)):
            raise ValueError(
                "the estimator implicit(of='loss') ignores how the model's state (moving statistics) depends "
                "on the solution: use implicit(of='step'), the estimator checkpointed, "
                "or a model without a state (statistics='batch')"
            )

        def inner(parameters: Parameters, phi: Meta) -> tf.Tensor:
            return inner_objective(problem, parameters, phi, task, last.model)

        def hessian(vector: Parameters) -> Parameters:
            return hvp(
                lambda parameters: inner(parameters, phi),
                last.parameters,
                vector,
                mode="reverse_over_reverse",
            )

        loss, metrics, cotangents = through_outer(through, last, task, problem.steps)
        solved = self._solved(hessian, cotangents.inner.parameters, begin)
        with tf.GradientTape() as tape:
            tape.watch(phi)
            _, gradient = value_and_gradient(lambda parameters: inner(parameters, phi), last.parameters)
        mixed = through.reach(dense(tape.gradient(gradient, phi, output_gradients=solved.x)))
        total = tf.nest.map_structure(
            lambda direct, mixed: direct if mixed is None else direct - mixed, cotangents.phi, mixed
        )
        return loss, total, metrics, solved.residual(tf.norm(ravel(gradient)[0])), solved.x

    def _of_step(self, through: Pass, last: Inner, task: Task, begin: Carry) -> Found:
        loss, metrics, cotangents = through_outer(through, last, task, through.problem.steps)
        step = StepMap(through, last, task)
        target = step.floating(cotangents.inner)
        if self.solver == "neumann":
            matrix = self._damped(lambda vector: _minus(vector, step.transposed(vector)))
            solved = series(matrix, target, self.scale or 1.0, self.iterations)
            unknown = solved.x
        else:
            solved = conjugate_gradients(
                lambda vector: _transposed_away(step, _away(step, vector)),
                target,
                self.damping,
                self.iterations,
                begin if self.warm_start else None,
            )
            unknown = solved.x
            solved = solved._replace(x=_away(step, solved.x))
        mixed = through.reach(step.to_phi(solved.x))
        total = tf.nest.map_structure(
            lambda direct, mixed: direct if mixed is None else direct + mixed, cotangents.phi, mixed
        )
        return loss, total, metrics, solved.residual(step.distance()), unknown

    def _solved(self, matrix: Any, target: Parameters, begin: Carry) -> Solved:
        if self.solver == "conjugate_gradient":
            start = begin if self.warm_start else None
            return conjugate_gradients(matrix, target, self.damping, self.iterations, start)
        assert self.scale is not None
        return series(self._damped(matrix), target, self.scale, self.iterations)

    def _damped(self, matrix: Any) -> Any:
        if not self.damping:
            return matrix
        return lambda vector: tf.nest.map_structure(lambda h, v: h + self.damping * v, matrix(vector), vector)


def _minus(left: Any, right: Any) -> Any:
    return tf.nest.map_structure(tf.subtract, left, right)


def _away(step: StepMap, vector: list[tf.Tensor]) -> list[tf.Tensor]:
    """Return ``(I - J) v``."""
    return _minus(vector, step.along(vector))


def _transposed_away(step: StepMap, vector: list[tf.Tensor]) -> list[tf.Tensor]:
    """Return ``(I - J)' v``."""
    return _minus(vector, step.transposed(vector))


def _require_reached(through: Pass) -> None:
    missing = through.missing()
    if missing:
        raise ValueError(
            f"the estimator implicit finds no gradient for {', '.join(missing)}: no loss depends on it at a "
            "given theta, and the solution of the inner problem does not depend on its initial parameters. "
            "Use proximal > 0, which makes the solution depend on them, or the estimator checkpointed"
        )

"""Implicit differentiation: the meta-gradient at the solution of the inner problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import tensorflow as tf

from metalearn.autodiff import conjugate_gradient, hvp, neumann, value_and_gradient
from metalearn.autodiff.gradients import dense
from metalearn.checks import require_count, require_positive
from metalearn.estimators.backward import Pass, through_outer
from metalearn.estimators.protocol import Estimator, average, leaves_used
from metalearn.execution.layout import Each, run
from metalearn.problems.bilevel import BilevelProblem, Inner, advance, inner_objective, inner_start
from metalearn.types import Meta, MetaGradient, Parameters, Task

Solver = Literal["conjugate_gradient", "neumann"]

Operator = Callable[[Parameters], Parameters]
"""A matrix, by its products with vectors."""

Solve = Callable[[Operator, Parameters], Parameters]
"""``(matrix, right-hand side) -> solution``."""


def implicit(
    solver: Solver = "conjugate_gradient",
    iterations: int = 5,
    *,
    damping: float = 0.0,
    scale: float | None = None,
) -> Estimator:
    """Return the estimator that differentiates the inner problem's solution by the implicit function theorem.

    ::

        H v  = grad_theta outer_loss(theta_K, phi),      H = d^2 inner_loss / d theta^2  at theta_K
        d meta-loss / d phi = grad_phi outer_loss  -  (d^2 inner_loss / d theta d phi)' v

    with H of the whole inner loss, proximal term included (``MetaLearner.proximal``, its only place). The
    steps are not remembered: memory does not grow with K. It is the gradient of the meta-loss as far as
    theta_K is a stationary point of the inner loss: with too few steps, or too few iterations of the
    solver, it is biased.

    H has to be positive definite. A proximal term of strength lambda adds lambda to every eigenvalue and
    is what makes it so for neural networks; without it, theta_0 has no influence on the solution, and a
    learner that adapts all its parameters has nothing to learn. Where conjugate gradients meet a direction
    of negative curvature, v is the best iterate before it: raise ``proximal`` or ``damping``.

    It refuses learned hyperparameters of the rule: the solution does not depend on how it was reached.

    Args:
        solver: ``"conjugate_gradient"``, or ``"neumann"``: ``v = scale sum_i (I - scale H)^i b``.
        iterations: of conjugate gradients, or terms of the Neumann series; at least 1.
        damping: added to the diagonal of H, at least 0; what it adds is a bias, so 0 unless H needs it.
        scale: of the Neumann series, below 2 / (largest eigenvalue of H + damping); required there. The
            inner learning rate serves, if gradient descent with it converges.

    Raises:
        ValueError: if an argument is out of range, unknown, missing, or not the solver's.

    Reference: Rajeswaran et al. (2019), "Meta-Learning with Implicit Gradients", equations 3 and 6 and
    algorithm 2 (their division by lambda is in the mixed partial here); Lorraine, Vicol and Duvenaud
    (2020), "Optimizing Millions of Hyperparameters by Implicit Differentiation", algorithm 3 (neumann).
    """
    if damping != 0:
        require_positive("damping (0 for none)", damping)
    require_count("iterations", iterations)
    solve = _solver(solver, iterations, damping, scale)
    return Estimator(lambda problem, meta, tasks: _estimate(solve, problem, meta, tasks), _check)


def _estimate(solve: Solve, problem: BilevelProblem, meta: Meta, tasks: Task) -> MetaGradient:
    through = Pass(problem, meta)
    start = problem.map(lambda support: inner_start(problem, meta, support), tasks.support)

    def of_one_task(last: Inner, task: Task) -> tuple[tf.Tensor, Meta]:
        def inner(parameters: Parameters, meta: Meta) -> tf.Tensor:
            return inner_objective(problem, parameters, meta, task.support)

        def hessian(vector: Parameters) -> Parameters:
            return hvp(
                lambda parameters: inner(parameters, meta), last[0], vector, mode="reverse_over_reverse"
            )

        loss, (to_parameters, _, direct) = through_outer(through, last, task.query, problem.steps)
        solution = solve(hessian, to_parameters)
        with tf.GradientTape() as tape:
            tape.watch(meta)
            _, gradient = value_and_gradient(lambda parameters: inner(parameters, meta), last[0])
        mixed = dense(tape.gradient(gradient, meta, output_gradients=solution))
        return loss, tf.nest.map_structure(
            lambda direct, mixed: direct if mixed is None else direct - mixed, direct, through.reach(mixed)
        )

    def program(each: Each, in_graph: bool, start: Inner, tasks: Task) -> tuple[tf.Tensor, Meta, Parameters]:
        last = advance(problem, meta, each, in_graph, start, tasks.support)
        return *each(of_one_task, last, tasks), last[0]

    result = run(problem, program, start, tasks)
    _require_reached(through)
    return average(*result)


def _solver(solver: Solver, iterations: int, damping: float, scale: float | None) -> Solve:
    if solver not in get_args(Solver):
        raise ValueError(f"solver must be one of {', '.join(get_args(Solver))}, got {solver!r}")
    if solver == "conjugate_gradient":
        if scale is not None:
            raise ValueError("scale is of the solver neumann, conjugate_gradient has none: leave it out")
        return lambda matrix, b: (
            conjugate_gradient(matrix, b, damping=damping, max_iterations=iterations, tolerance=0.0).x
        )
    if scale is None:
        raise ValueError(
            "the solver neumann needs scale, below 2 / (largest eigenvalue of the Hessian of the inner "
            "loss): try the inner learning rate"
        )
    require_positive("scale", scale)

    def series(matrix: Operator, b: Parameters) -> Parameters:
        def damped(vector: Parameters) -> Parameters:
            return tf.nest.map_structure(lambda h, v: h + damping * v, matrix(vector), vector)

        return neumann(damped if damping else matrix, b, scale=scale, terms=iterations).x

    return series


def _check(problem: BilevelProblem, meta: Meta) -> None:
    learned = leaves_used(problem.hyperparameters, meta)
    if learned:
        raise ValueError(
            f"the estimator implicit cannot differentiate {', '.join(learned)}: hyperparameters of the rule, "
            "and the solution of the inner problem does not depend on how it was reached. Give the rule "
            "numbers instead of learned hyperparameters, or use the estimator mixed_mode"
        )


def _require_reached(through: Pass) -> None:
    missing = through.missing()
    if missing:
        raise ValueError(
            f"the estimator implicit finds no gradient for {', '.join(missing)}: no loss depends on it at a "
            "given theta, and the solution of the inner problem does not depend on where it started. Tie "
            "the solution to the start with proximal > 0, or use the estimator mixed_mode"
        )

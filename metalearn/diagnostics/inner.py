"""What the inner loop does to the losses, how far it goes, and whether its rate is beyond stability."""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from metalearn.bilevel import BilevelProblem, Inner, Step, inner_objective, inner_start, inner_step
from metalearn.derivatives import extreme_eigenvalues, hvp, value_and_gradient
from metalearn.diagnostics.angles import Metrics, cosine, flat, largest, norm, share
from metalearn.diagnostics.probes import Rates, descent_rates
from metalearn.estimators.programs import Each, run
from metalearn.loops import fold
from metalearn.types import Meta, Parameters, Seed, Task

STABLE = 2.0
"""Gradient descent on a quadratic converges while rate times curvature is below this in every direction."""

Objective = Callable[[Parameters], tf.Tensor]


def inner_loop(
    problem: BilevelProblem, meta: Meta, tasks: Task, seed: Seed, *, lanczos_iterations: int = 8
) -> Metrics:
    """Run the inner loop and report on it; H is the Hessian of a task's inner loss at theta_0.

    ::

        inner/support_loss/k      inner loss at theta_k, k = 0..K, mean over tasks
        inner/query_loss/k        outer loss at theta_k, mean over tasks
        inner/displacement        |theta_K - theta_0|, mean over tasks
        inner/gradient_cosine     cosine of the gradients of inner and outer loss at theta_0, mean over tasks
        inner/curvature           largest eigenvalue of H, mean over tasks
        inner/curvature_maximum   the same, maximum over tasks
        inner/stability           largest eigenvalue of R^(1/2) H R^(1/2), maximum over tasks
        inner/unstable            fraction of tasks where that is beyond 2

    with ``R = diag(r)`` the rates of the first inner step: for one rate, ``r`` times the largest eigenvalue.
    ``theta - r grad`` maps the distance from a quadratic's minimum by ``I - R H``, whose eigenvalues are
    those of ``I - R^(1/2) H R^(1/2)``: beyond 2 it grows. Rates of elements that have become negative count
    as 0. stability and unstable are left out if there is no inner step, or the rule is not plain descent
    (:func:`metalearn.diagnostics.probes.descent_rates`): momentum is stable beyond 2, Adam is no matter of
    this number.

    Eigenvalues are Ritz values, so from below; with as many iterations as adapted parameters they are exact.

    Args:
        problem: the bilevel problem.
        meta: phi.
        tasks: leaves ``[T, N, ...]``.
        seed: of Lanczos' starting vector, the same for every task.
        lanczos_iterations: at least 1; as many Hessian-vector products for every task.

    Returns:
        Scalars; losses and curvature in units of the loss, stability without unit.

    Raises:
        ValueError: naming the adapted parameters that a loss does not depend on.

    Reference: LeCun et al. (1998), "Efficient BackProp", section 4 (rates and eigenvalues of H); Cohen et
    al. (2021), "Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability", section 2.
    """

    start, last, losses, angle = run(problem, functools.partial(_walk, problem, meta), tasks)
    metrics = {}
    for step in range(problem.steps + 1):
        metrics[f"inner/support_loss/{step}"] = tf.reduce_mean(losses[:, step, 0])
        metrics[f"inner/query_loss/{step}"] = tf.reduce_mean(losses[:, step, 1])
    metrics["inner/displacement"] = tf.reduce_mean(norm(flat(last, axes=1) - flat(start, axes=1)))
    metrics["inner/gradient_cosine"] = tf.reduce_mean(angle)
    return metrics | _curvature(problem, meta, tasks, start, tf.convert_to_tensor(seed), lanczos_iterations)


def _walk(
    problem: BilevelProblem, meta: Meta, each: Each, in_graph: bool, tasks: Task
) -> tuple[Parameters, Parameters, tf.Tensor, tf.Tensor]:
    """Go through the inner steps: a program for :func:`metalearn.estimators.programs.run`.

    Returns:
        theta_0; theta_K; losses ``[K+1, 2]`` on support and query; the cosine of their gradients at theta_0.
    """
    steps = tf.range(problem.steps + 1)[:, None]

    def objectives(task: Task) -> tuple[Objective, Objective]:
        return (
            lambda parameters: inner_objective(problem, parameters, meta, task.support),
            lambda parameters: problem.outer_loss(parameters, meta, task.query),
        )

    def begin(task: Task) -> tuple[Inner, tf.Tensor, tf.Tensor]:
        inner = inner_start(problem, meta, task.support)
        found = [value_and_gradient(objective, inner[0]) for objective in objectives(task)]
        now = tf.stack([loss for loss, _ in found])
        return inner, tf.where(steps == 0, now, tf.zeros_like(now)), cosine(*(flat(part) for _, part in found))

    def advance(step: Step, inner: Inner, losses: tf.Tensor, task: Task) -> tuple[Inner, tf.Tensor]:
        inner = inner_step(problem, inner, meta, task.support, step)
        now = tf.stack([objective(inner[0]) for objective in objectives(task)])
        return inner, tf.where(steps == step + 1, now, losses)

    start, losses, angle = each(begin, tasks)
    (last, _), losses = fold(
        lambda carry, step: each(functools.partial(advance, step), *carry, tasks),
        (start, losses),
        problem.steps,
        in_graph=in_graph,
    )
    return start[0], last, losses, angle


def _curvature(
    problem: BilevelProblem, meta: Meta, tasks: Task, start: Parameters, seed: tf.Tensor, iterations: int
) -> Metrics:
    """Return what the curvature at theta_0 ``[T, ...]`` says."""

    def sharpness(parameters: Parameters, task: Task, scale: Parameters) -> tf.Tensor:
        def operator(vector: Parameters) -> Parameters:
            # Reverse over reverse: as fast here as forward over reverse, built in half the time, and for
            # recurrent layers too.
            product = hvp(
                lambda parameters: inner_objective(problem, parameters, meta, task.support),
                parameters,
                _times(vector, scale),
                "reverse_over_reverse",
            )
            return _times(product, scale)

        return extreme_eigenvalues(operator, parameters, iterations=iterations, seed=seed).largest

    rates = _rates(problem, meta, start) if problem.steps else None
    scales = [tf.nest.map_structure(tf.ones_like, start)]
    if rates is not None and not rates.uniform:
        scales.append(_times(scales[0], tf.nest.map_structure(_root, rates.values)))
    # All operators are of one map, behind one another: its program is built once.
    stacked = tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *[(start, tasks)] * len(scales))
    stacked_scales = tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *scales)
    curvature, *stability = tf.split(problem.map(sharpness, *stacked, stacked_scales), len(scales))
    if rates is not None and rates.uniform:
        stability = [tf.reshape(tf.nest.flatten(rates.values)[0], [-1])[0] * curvature]
    metrics = {
        "inner/curvature": tf.reduce_mean(curvature),
        "inner/curvature_maximum": largest(curvature),
    }
    for values in stability:
        metrics["inner/stability"] = largest(values)
        metrics["inner/unstable"] = share(values > STABLE, of=values)
    return metrics


def _root(rate: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.maximum(rate, 0))


def _rates(problem: BilevelProblem, meta: Meta, start: Parameters) -> Rates | None:
    one = {key: tf.zeros(leaf.shape[1:], leaf.dtype) for key, leaf in start.items()}
    return descent_rates(problem.rule, problem.hyperparameters(meta), one)


def _times(left: Parameters, right: Parameters) -> Parameters:
    return tf.nest.map_structure(tf.multiply, left, right)

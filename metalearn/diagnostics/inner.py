"""Diagnostics of the inner loop: losses, displacement, curvature and stability."""

from __future__ import annotations

import functools
from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

import tensorflow as tf

from metalearn.autodiff import extreme_eigenvalues, hvp, value_and_gradient
from metalearn.diagnostics.angles import Metrics, cosine, flat, largest, norm, share
from metalearn.execution.layout import FUSED_STEPS
from metalearn.execution.loops import fold
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import Step, inner_objective, inner_start, inner_step, outer_loss
from metalearn.nest import as_type
from metalearn.rules.description import descent_rates_of
from metalearn.types import Inner, Meta, Parameters, Problem, Seed, Task

STABLE = 2.0
"""Gradient descent on a quadratic converges if rate times curvature is below this in every direction."""


def inner_loop(
    problem: Problem, meta: Meta, tasks: Task, seed: Seed, *, lanczos_iterations: int = 8
) -> Metrics:
    """Return diagnostics of the inner loop; H is the Hessian of a task's inner loss at theta_0.

    ::

        inner/support_loss/k      inner loss at theta_k, k = 0..K, mean over tasks
        inner/query_loss/k        outer loss at theta_k, mean over tasks
        inner/displacement        |theta_K - theta_0|, mean over tasks
        inner/gradient_cosine     cosine of the gradients of inner and outer loss at theta_0, mean over tasks
        inner/curvature           largest eigenvalue of H, mean over tasks
        inner/curvature_maximum   the same, maximum over tasks
        inner/stability           largest eigenvalue of R^(1/2) H R^(1/2), maximum over tasks
        inner/unstable            fraction of tasks whose stability exceeds 2

    where ``R = diag(r)`` contains the rates of the first inner step; for a single rate, stability is ``r``
    times the largest eigenvalue. On a quadratic, ``theta - r grad`` multiplies the distance from the minimum
    by ``I - R H``, whose eigenvalues are those of ``I - R^(1/2) H R^(1/2)``: the distance grows if stability
    exceeds 2. Negative learned rates count as 0. ``stability`` and ``unstable`` are omitted if there is no
    inner step, or the rule does not declare gradient descent (:meth:`metalearn.types.Rule.descent_rates`):
    momentum is stable beyond 2, and for Adam the number has no meaning.

    Eigenvalues are Ritz values, which are lower bounds; with as many iterations as adapted parameters they
    are exact. Tasks are processed one after the other for every mapping of the problem, because such a
    program is built in a fraction of the time.

    Args:
        problem: the bilevel problem.
        meta: phi.
        tasks: leaves ``[T, N, ...]``.
        seed: the seed of the starting vector of the Lanczos iteration, the same for every task.
        lanczos_iterations: at least 1, the number of Hessian-vector products for every task.

    Returns:
        Scalars; losses and curvature in units of the loss, stability without a unit.

    Raises:
        ValueError: naming the adapted parameters on which a loss does not depend.

    Reference: LeCun et al. (1998), "Efficient BackProp", section 4 (rates and eigenvalues of H); Cohen et
    al. (2021), "Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability", section 2.
    """

    one = functools.partial(
        of_one_task, problem, meta, seed=tf.convert_to_tensor(seed), iterations=lanczos_iterations
    )
    return summary(map_tasks(one, tasks, mapping="sequential"))


class Path(NamedTuple):
    """Measurements of one task's inner loop, or with a leading ``[T]`` of all tasks.

    Attributes:
        losses: the losses on support and query at every theta_k, ``[K+1, 2]``.
        displacement: ``|theta_K - theta_0|``.
        cosine: the cosine of the gradients of the two losses at theta_0.
        curvature: the largest eigenvalue of H.
        stability: the largest eigenvalue of ``R^(1/2) H R^(1/2)``, or an empty tuple.
    """

    losses: tf.Tensor
    displacement: tf.Tensor
    cosine: tf.Tensor
    curvature: tf.Tensor
    stability: tf.Tensor | tuple[()]


def of_one_task(problem: Problem, meta: Meta, task: Task, *, seed: tf.Tensor, iterations: int) -> Path:
    """Run the inner loop on one task, whose leaves are ``[N, ...]``; see :func:`inner_loop`."""

    begun = inner_start(problem, meta, task)

    def support_loss(parameters: Parameters) -> tf.Tensor:
        return inner_objective(problem, parameters, meta, task, begun.model)

    def query_loss(parameters: Parameters) -> tf.Tensor:
        return outer_loss(problem, parameters, meta, task, begun.model)[0]

    def losses(inner: Inner) -> tf.Tensor:
        return tf.stack(
            [
                inner_objective(problem, inner.parameters, meta, task, inner.model),
                outer_loss(problem, inner.parameters, meta, task, inner.model)[0],
            ]
        )

    def advance(carry: tuple[Inner, tf.Tensor], step: Step) -> tuple[Inner, tf.Tensor]:
        inner = inner_step(problem, carry[0], meta, task, step)
        return inner, tf.where(steps == step + 1, losses(inner), carry[1])

    steps = tf.range(problem.steps + 1)[:, None]
    start = begun.parameters
    found = [value_and_gradient(loss, start) for loss in (support_loss, query_loss)]
    first = tf.broadcast_to(tf.stack([loss for loss, _ in found]), [problem.steps + 1, 2])
    in_graph = problem.steps > FUSED_STEPS
    last, path = fold(advance, (begun, first), problem.steps, in_graph=in_graph)
    eigenvalue = functools.partial(_eigenvalue, support_loss, start, seed=seed, iterations=iterations)
    curvature, stability = eigenvalue(None), ()
    values = problem.hyperparameters(meta)
    rates = descent_rates_of(problem.rule, start, values, 0) if problem.steps else None
    if rates is not None:
        one = _common(rates)
        stability = eigenvalue(_roots(rates, start)) if one is None else one * curvature
    angle = cosine(*(flat(gradient) for _, gradient in found))
    return Path(path, norm(flat(last.parameters) - flat(start)), angle, curvature, stability)


def summary(paths: Path) -> Metrics:
    """Return the metrics of :func:`inner_loop`, from the paths of all tasks."""
    count = paths.losses.shape[1]
    kinds = [f"inner/{kind}_loss/{step}" for step in range(count) for kind in ("support", "query")]
    means = tf.unstack(tf.reshape(tf.reduce_mean(paths.losses, 0), [2 * count]))
    metrics = dict(zip(kinds, means, strict=True))
    metrics |= {
        "inner/displacement": tf.reduce_mean(paths.displacement),
        "inner/gradient_cosine": tf.reduce_mean(paths.cosine),
        "inner/curvature": tf.reduce_mean(paths.curvature),
        "inner/curvature_maximum": largest(paths.curvature),
    }
    if not isinstance(paths.stability, tuple):
        metrics["inner/stability"] = largest(paths.stability)
        metrics["inner/unstable"] = share(paths.stability > STABLE, of=paths.stability)
    return metrics


def _eigenvalue(
    loss: Callable[[Parameters], tf.Tensor],
    parameters: Parameters,
    scale: Parameters | None,
    *,
    seed: tf.Tensor,
    iterations: int,
) -> tf.Tensor:
    """Return the largest eigenvalue of the loss's Hessian H, or of ``S H S`` for a diagonal S."""

    def operator(vector: Parameters) -> Parameters:
        # Reverse over reverse is as fast as forward over reverse here, is built in half the time, and
        # supports recurrent layers.
        if scale is None:
            return hvp(loss, parameters, vector, "reverse_over_reverse")
        return _times(hvp(loss, parameters, _times(vector, scale), "reverse_over_reverse"), scale)

    return extreme_eigenvalues(operator, parameters, iterations=iterations, seed=seed).largest


def _common(rates: Parameters) -> float | tf.Tensor | None:
    """Return the common rate of all variables, a number or a scalar; None if rates may differ."""
    first, *others = rates.values()
    if isinstance(first, Real):
        return float(first) if all(isinstance(rate, Real) and rate == first for rate in others) else None
    return first if len(first.shape) == 0 and all(rate is first for rate in others) else None


def _roots(rates: Parameters, like: Parameters) -> Parameters:
    """Return the square roots of the rates, one for every element; 0 for those below 0."""
    each = {key: as_type(rates[key], leaf.dtype) for key, leaf in like.items()}
    return {key: tf.broadcast_to(tf.sqrt(tf.maximum(each[key], 0)), leaf.shape) for key, leaf in like.items()}


def _times(left: Parameters, right: Parameters) -> Parameters:
    return tf.nest.map_structure(tf.multiply, left, right)

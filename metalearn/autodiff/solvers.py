"""Solvers of linear systems ``A x = b`` for an operator that is given by its products with vectors.

Loops have a fixed number of iterations; after convergence, the state no longer changes. Therefore the same
code works in eager execution, under XLA, and in ``tf.vectorized_map`` over tasks that converge at different
times.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.execution.loops import fold
from metalearn.nest import Operator, as_type, dot, epsilon, matched, ravel, raveled_operator
from metalearn.types import Structure


class Solution(NamedTuple):
    """The result of :func:`conjugate_gradient`.

    Attributes:
        x: the solution, structured as ``b``.
        iterations: number of iterations that changed ``x``, int32 ``[]``.
        residual_norm: ``|b - (A + damping I) x|``, computed from ``x`` itself, ``[]``.
        converged: whether the residual norm is within the tolerance, or as small as the rounding of ``x``
            allows (``10 eps |A| |x|``), bool ``[]``.
        indefinite: whether a direction of non-positive curvature was found, that is, ``A + damping I`` is not
            positive definite to the precision of its type, bool ``[]``.
    """

    x: Structure
    iterations: tf.Tensor
    residual_norm: tf.Tensor
    converged: tf.Tensor
    indefinite: tf.Tensor


class Series(NamedTuple):
    """The result of :func:`neumann`.

    Attributes:
        x: the partial sum, structured as ``b``.
        residual_norm: ``|b - A x|``, ``[]``; above ``|b|`` if the series diverges.
    """

    x: Structure
    residual_norm: tf.Tensor


class _State(NamedTuple):
    """The loop state of conjugate gradients: vectors ``[P]`` and scalars."""

    x: tf.Tensor
    residual: tf.Tensor
    direction: tf.Tensor
    squared: tf.Tensor
    steepest: tf.Tensor
    best: tf.Tensor
    best_squared: tf.Tensor
    iterations: tf.Tensor
    indefinite: tf.Tensor


def conjugate_gradient(
    operator: Operator,
    b: Structure,
    *,
    max_iterations: int,
    x0: Structure | None = None,
    damping: float | tf.Tensor = 0.0,
    tolerance: float = 1e-6,
) -> Solution:
    """Solve ``(A + damping I) x = b`` for a symmetric positive definite operator.

    ::

        x_{i+1} = x_i + (r_i'r_i / p_i'A p_i) p_i,   r_i = b - A x_i,
        p_{i+1} = r_{i+1} + (r_{i+1}'r_{i+1} / r_i'r_i) p_i

    Cost: in a graph the operator is applied ``max_iterations + 1`` times, also after convergence, and once
    more if ``x0`` is given; in eager execution the loop ends with convergence. The last application computes
    the true residual. Rounding keeps it above about ``eps |A| |x|`` (eps is 1e-7 in float32), while the
    residual of the recursion converges to zero.

    Args:
        operator: ``x -> A x``, linear, on nested tensors like ``b``.
        b: right-hand side; nested tensors of one floating type, ``P`` scalars in total. Zero gives zero.
        max_iterations: at least 1; without rounding, ``P`` iterations are always enough.
        x0: the starting point, structured as ``b``; zero if not given.
        damping: added to the diagonal, at least 0.
        tolerance: of ``|residual| / |b|``, at least 0; below eps it counts as eps.

    Returns:
        The solution. If the iterations did not suffice, ``x`` is the last iterate, which has the smallest
        error. For an operator that is not positive definite, it is the iterate with the smallest residual
        before this was found. NaN in the operator or in ``b`` gives NaN.

    Raises:
        ValueError: if ``x0`` or the result of the operator does not match ``b``, naming the leaf; or if a
            number is out of range.

    Reference: Hestenes and Stiefel (1952), "Methods of Conjugate Gradients for Solving Linear Systems",
    section 3.

    >>> solved = conjugate_gradient(lambda x: [1.0, 4.0] * x, tf.constant([2.0, 2.0]), max_iterations=2)
    >>> solved.x.numpy().round(4).tolist(), bool(solved.converged)
    ([2.0, 0.5], True)
    """
    require_count("max_iterations", max_iterations)
    _require_not_negative("damping", damping)
    _require_not_negative("tolerance", tolerance)
    vector, unravel = ravel(b)
    start = None if x0 is None else ravel(matched("x0", x0, b))[0]
    product = raveled_operator(operator, b)

    def damped(direction: tf.Tensor) -> tf.Tensor:
        return product(direction) + as_type(damping, direction.dtype) * direction

    solution = _solve(damped, vector, start, max_iterations, max(tolerance, epsilon(vector.dtype)))
    return solution._replace(x=unravel(solution.x))


def _solve(
    matrix: Callable[[tf.Tensor], tf.Tensor],
    vector: tf.Tensor,
    start: tf.Tensor | None,
    max_iterations: int,
    tolerance: float,
) -> Solution:
    """Solve ``matrix(x) = vector`` for vectors ``[P]``."""
    # Squares of small numbers underflow (1e-23 in float32): solve for a right-hand side of norm 1.
    size = tf.reduce_max(tf.abs(vector))
    size = tf.where(size > 0, size, tf.ones_like(size))
    target = vector / size
    # False, but no constant: tf.vectorized_map converts a loop three times over if one of its variables
    # begins the same in all tasks and does not stay so.
    false = size < size
    zero, zeros = tf.cast(false, target.dtype), tf.cast(target < target, target.dtype)
    x = zeros if start is None else tf.where(dot(target, target) > 0, start / size, zeros)
    residual = target if start is None else target - matrix(x)
    squared = dot(residual, residual)
    threshold = tolerance**2 * dot(target, target)
    state = _State(x, residual, residual, squared, zero, x, squared, tf.cast(false, tf.int32), false)

    def unfinished(step: tf.Tensor, state: _State) -> tf.Tensor:
        within = step < max_iterations
        return within & _active(state, threshold) if tf.executing_eagerly() else within

    _, state = tf.while_loop(
        unfinished,
        lambda step, state: (step + 1, _iterate(matrix, state, threshold)),
        (tf.constant(0), state),
        maximum_iterations=max_iterations,
    )
    x = tf.where(state.indefinite, state.best, state.x)
    norm = tf.norm(target - matrix(x))
    rounding = 10 * epsilon(x.dtype) * state.steepest * tf.norm(x)
    converged = norm <= tolerance * tf.norm(target) + rounding
    return Solution(x * size, state.iterations, norm * size, converged, state.indefinite)


def _active(state: _State, threshold: tf.Tensor) -> tf.Tensor:
    """Return whether to continue; NaN continues, so that it reaches ``x``."""
    return ~(state.squared <= threshold) & ~state.indefinite


def _iterate(matrix: Callable[[tf.Tensor], tf.Tensor], state: _State, threshold: tf.Tensor) -> _State:
    """Return the state after one iteration, or the same state after convergence."""
    image = matrix(state.direction)
    curvature, length = dot(state.direction, image), dot(state.direction, state.direction)
    steepest = tf.maximum(state.steepest, curvature / length)
    # Curvature this far below the largest is a rounding error and must not be a divisor.
    flat = curvature <= epsilon(image.dtype) * steepest * length
    rate = state.squared / curvature
    x, residual = state.x + rate * state.direction, state.residual - rate * image
    squared = dot(residual, residual)
    better = squared < state.best_squared
    moved = _State(
        x=x,
        residual=residual,
        direction=residual + squared / state.squared * state.direction,
        squared=squared,
        steepest=steepest,
        best=tf.where(better, x, state.best),
        best_squared=tf.where(better, squared, state.best_squared),
        iterations=state.iterations + 1,
        indefinite=state.indefinite,
    )
    active = _active(state, threshold)
    after = tf.nest.map_structure(lambda new, old: tf.where(active & ~flat, new, old), moved, state)
    return after._replace(indefinite=state.indefinite | (active & flat))


def neumann(operator: Operator, b: Structure, *, scale: float | tf.Tensor, terms: int) -> Series:
    """Approximate ``A^{-1} b`` by ``terms`` terms of the Neumann series.

    ::

        x = scale * sum_{i=0}^{terms-1} (I - scale A)^i b,     b - A x = (I - scale A)^terms b

    The series converges for any operator whose eigenvalues lie between 0 and ``2 / scale``; one term is
    ``scale * b``. The operator is applied ``terms`` times, the last time for the residual.

    Args:
        operator: ``x -> A x``, linear, on nested tensors like ``b``.
        b: right-hand side; nested tensors of one floating type.
        scale: the step size; the optimum is 2 / (smallest + largest eigenvalue).
        terms: at least 1.

    Returns:
        The partial sum and the norm of its true residual. A divergent series is not an error: its
        residual norm is above ``|b|`` and grows with the number of terms.

    Raises:
        ValueError: if the operator's result does not match ``b``, naming the leaf, or ``terms`` is not a
            positive integer.

    Reference: Lorraine, Vicol and Duvenaud (2020), "Optimizing Millions of Hyperparameters by Implicit
    Differentiation", theorem 2 and algorithm 3.
    """
    require_count("terms", terms)
    vector, unravel = ravel(b)
    product = raveled_operator(operator, b)
    scale = as_type(scale, vector.dtype)

    def add(sums: tuple[tf.Tensor, tf.Tensor], _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        term, total = sums
        term -= scale * product(term)
        return term, total + term

    _, total = fold(add, (vector, vector), terms - 1, in_graph=True)
    x = scale * total
    return Series(unravel(x), tf.norm(vector - product(x)))


def _require_not_negative(name: str, value: object) -> None:
    """Raise ValueError if ``value`` is a number below 0; the value of a tensor may not be known yet."""
    if isinstance(value, Real) and not float(value) >= 0:
        raise ValueError(f"{name} must be at least 0, got {value!r}")

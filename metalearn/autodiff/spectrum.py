"""Eigenvalues of a symmetric operator that is given by its products with vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.execution.loops import fold
from metalearn.nest import Operator, as_type, dot, epsilon, ravel, raveled_operator
from metalearn.random import normal
from metalearn.types import Seed, Structure


class Lanczos(NamedTuple):
    """The projection of a symmetric operator onto ``m`` dimensions; ``m = min(iterations, P)``.

    Attributes:
        alphas: diagonal of the tridiagonal matrix ``Q A Q'``, ``[m]``.
        betas: its off-diagonal, at least 0, ``[m - 1]``.
        basis: ``Q``, orthonormal rows, the first along the starting vector, ``[m, P]``.
        values: Ritz values, the eigenvalues of that matrix, ascending, ``[m]``.
        weights: squared components of the starting vector along the Ritz vectors, of sum 1, ``[m]``.
        bounds: the operator has an eigenvalue within this distance of each Ritz value, up to rounding,
            ``[m]``.
    """

    alphas: tf.Tensor
    betas: tf.Tensor
    basis: tf.Tensor
    values: tf.Tensor
    weights: tf.Tensor
    bounds: tf.Tensor


class Extremes(NamedTuple):
    """The extreme eigenvalues of an operator, each ``[]``.

    Attributes:
        smallest: estimate of the smallest eigenvalue, from above.
        largest: estimate of the largest eigenvalue, from below.
        smallest_bound: there is an eigenvalue within this distance of ``smallest``.
        largest_bound: there is an eigenvalue within this distance of ``largest``.
    """

    smallest: tf.Tensor
    largest: tf.Tensor
    smallest_bound: tf.Tensor
    largest_bound: tf.Tensor


class Density(NamedTuple):
    """An estimated density of eigenvalues.

    Attributes:
        grid: points at which the density is evaluated, ``[G]``.
        density: of eigenvalues, ``[G]``; its integral is 1.
        values: Ritz values of every probe, ``[probes, m]``.
        weights: their weights, of sum 1 for every probe, ``[probes, m]``. The mean over the probes of
            ``sum weights * values^k`` estimates ``trace(A^k) / P`` without bias, for k < 2 m.
    """

    grid: tf.Tensor
    density: tf.Tensor
    values: tf.Tensor
    weights: tf.Tensor


def lanczos(operator: Operator, like: Structure, *, iterations: int, seed: Seed) -> Lanczos:
    """Project a symmetric operator onto the Krylov space of a random vector, by the Lanczos iteration.

    ::

        beta_k q_{k+1} = A q_k - alpha_k q_k - beta_{k-1} q_{k-1},   alpha_k = q_k'A q_k

    Every vector is orthogonalised against all earlier ones, so rounding causes no copies of eigenvalues. If
    the vectors span an invariant subspace (for an operator of low rank or with few different eigenvalues),
    ``beta_k`` is 0, and the iteration continues from a vector outside of it; the Ritz values there are
    eigenvalues of weight zero. The operator is applied ``m`` times; the memory is that of ``m P`` numbers,
    and the other operations take time ``6 m^2 P``.

    Args:
        operator: ``x -> A x``, linear and symmetric, on nested tensors like ``like``.
        like: nested tensors of one floating type, ``P`` scalars in total; only shapes and type are used.
        iterations: at least 1; at most ``P`` are computed.
        seed: of the starting vector, which is uniform on the sphere.

    Raises:
        ValueError: if the operator's result does not match ``like``, naming the leaf, or ``iterations``
            is not a positive integer.

    Reference: Golub and Meurant (2010), "Matrices, Moments and Quadrature", chapters 4 and 6.
    """
    require_count("iterations", iterations)
    vector, _ = ravel(like)
    start = normal(vector.shape, seed, vector.dtype)
    return _lanczos(raveled_operator(operator, like), start, iterations)


def extreme_eigenvalues(operator: Operator, like: Structure, *, iterations: int, seed: Seed) -> Extremes:
    """Estimate the smallest and the largest eigenvalue of a symmetric operator, with residual bounds.

    ::

        |A y - theta y| = beta_m |s_m|   for the Ritz vector y = Q's of the Ritz value theta

    Ritz values lie within the spectrum and converge to its ends first. A bound shows that some eigenvalue is
    near, not that it is the extreme one: a random start has a component along the extreme eigenvector with
    probability one, but after a few iterations it may not be separated from its neighbours.

    Args:
        operator, like, iterations, seed: as for :func:`lanczos`; 20 to 100 iterations are usual.

    Raises:
        ValueError: as :func:`lanczos`.

    Reference: Golub and Meurant (2010), "Matrices, Moments and Quadrature", section 4.1; Parlett (1998),
    "The Symmetric Eigenvalue Problem", chapter 13.
    """
    ritz = lanczos(operator, like, iterations=iterations, seed=seed)
    return Extremes(ritz.values[0], ritz.values[-1], ritz.bounds[0], ritz.bounds[-1])


def spectral_density(
    operator: Operator,
    like: Structure,
    *,
    iterations: int,
    probes: int,
    seed: Seed,
    grid: tf.Tensor | None = None,
    points: int = 1024,
    width: float | tf.Tensor | None = None,
    vectorized: bool = True,
) -> Density:
    """Estimate the density of the eigenvalues of a symmetric operator by stochastic Lanczos quadrature.

    ::

        density(t) = 1/probes sum_p sum_i weight_pi N(t; value_pi, width^2)

    Each of the probes is a random vector, uniform on the sphere, and costs one :func:`lanczos`.

    Args:
        operator, like, iterations: as for :func:`lanczos`.
        probes: number of random vectors, at least 1; the error decreases with its square root.
        seed: of the probes.
        grid: points at which to evaluate the density, ``[G]``; if not given, ``points`` evenly spaced points
            that extend six widths beyond the Ritz values.
        points: number of points, at least 2, if ``grid`` is not given. The integral over the grid is 1 only
            if the spacing is much smaller than ``width``.
        width: standard deviation of the kernel, above 0; a hundredth of the largest absolute Ritz value
            if not given.
        vectorized: all probes in one vectorised program; otherwise one after the other, which is necessary
            for convolutions and takes less memory.

    Raises:
        ValueError: as :func:`lanczos`; and if an operation cannot be vectorised.

    Reference: Ghorbani, Krishnan and Xiao (2019), "An Investigation into Neural Net Optimization via
    Hessian Eigenvalue Density", arXiv 1901.10159, section 2.
    """
    require_count("iterations", iterations)
    require_count("probes", probes)
    require_count("points", points, minimum=2)
    vector, _ = ravel(like)
    matrix = raveled_operator(operator, like)

    @tf.autograph.experimental.do_not_convert
    def quadrature(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ritz = _lanczos(matrix, start, iterations)
        return ritz.values, ritz.weights

    starts = normal([probes, *vector.shape], seed, vector.dtype)
    if vectorized:
        values, weights = tf.vectorized_map(quadrature, starts, fallback_to_while_loop=False)
    else:
        values, weights = tf.map_fn(quadrature, starts, fn_output_signature=(starts.dtype, starts.dtype))
    grid, width = _grid(values, grid, points, width)
    return Density(grid, _smoothed(grid, values, weights, width), values, weights)


def _grid(
    values: tf.Tensor, grid: tf.Tensor | None, points: int, width: float | tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return grid and width as tensors; where they are ``None``, they are chosen to fit the Ritz values."""
    if width is None:
        largest = tf.reduce_max(tf.abs(values))
        width = 0.01 * tf.where(largest > 0, largest, tf.ones_like(largest))
    width = as_type(width, values.dtype)
    if grid is None:
        low, high = tf.reduce_min(values) - 6 * width, tf.reduce_max(values) + 6 * width
        grid = low + (high - low) * tf.linspace(tf.zeros_like(low), tf.ones_like(low), points)
    return as_type(grid, values.dtype), width


def _smoothed(grid: tf.Tensor, values: tf.Tensor, weights: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Return a mixture of Gaussians of standard deviation ``width`` around ``[probes, m]`` on ``grid``."""
    distances = (grid[:, None] - tf.reshape(values, [-1])) / width
    shares = tf.reshape(weights, [-1]) / tf.cast(tf.shape(values)[0], values.dtype)
    heights = tf.exp(-0.5 * tf.square(distances)) / (width * (2 * np.pi) ** 0.5)
    return tf.linalg.matvec(heights, shares)


def _lanczos(matrix: Callable[[tf.Tensor], tf.Tensor], start: tf.Tensor, iterations: int) -> Lanczos:
    """Return the Lanczos projection of ``matrix`` on vectors ``[P]`` from the vector ``start``."""
    size = start.shape[0]
    length = min(iterations, size)
    zeros = tf.zeros([length], start.dtype)

    def body(state: tuple[tf.Tensor, ...], step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        vector, basis, alphas, betas, scale = state
        here = tf.one_hot(step, length, dtype=start.dtype)
        basis = basis + here[:, None] * vector
        image = matrix(vector)
        following, beta, scale = _extend(basis, image, scale)
        alphas, betas = alphas + here * dot(vector, image), betas + here * beta
        return following, basis, alphas, betas, scale

    basis = tf.zeros([length, size], start.dtype)
    state = (start / tf.norm(start), basis, zeros, zeros, tf.zeros_like(start[0]))
    _, basis, alphas, betas, _ = fold(body, state, length, in_graph=True)
    inner, last = betas[:-1], betas[-1]
    upper = tf.pad(tf.linalg.diag(inner), [[0, 1], [1, 0]])
    values, vectors = _eigh(tf.linalg.diag(alphas) + upper + tf.transpose(upper))
    return Lanczos(alphas, inner, basis, values, tf.square(vectors[0]), last * tf.abs(vectors[-1]))


def _extend(basis: tf.Tensor, image: tf.Tensor, scale: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Find the next basis vector.

    Args:
        basis: orthonormal rows, then rows of zeros, ``[m, P]``.
        image: the operator on the last vector, ``[P]``.
        scale: norm of the largest image so far.

    Returns:
        The next vector, ``[P]``, or zero if the basis is complete; its component in the image; the scale.
    """
    rest = _orthogonal(image, basis)
    beta, scale = tf.norm(rest), tf.maximum(scale, tf.norm(image))
    invariant = beta <= 10 * epsilon(image.dtype) * scale
    # The coordinate direction with the largest component outside of the basis, at least 1 - m / P.
    coordinate = tf.argmin(tf.reduce_sum(tf.square(basis), 0))
    fresh = tf.one_hot(coordinate, image.shape[0], dtype=image.dtype)
    following = _orthogonal(tf.where(invariant, fresh, rest / beta), basis)
    following = _orthogonal(following, basis)
    following = tf.math.divide_no_nan(following, tf.norm(following))
    return following, tf.where(invariant, tf.zeros_like(beta), beta), scale


def _orthogonal(vector: tf.Tensor, basis: tf.Tensor) -> tf.Tensor:
    """Return ``vector`` without its components along the rows of ``basis``."""
    return vector - tf.linalg.matvec(basis, tf.linalg.matvec(basis, vector), transpose_a=True)


def _eigh(matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return eigenvalues, ascending, and eigenvectors in columns of a symmetric matrix ``[m, m]``.

    The error of XLA's decomposition in float64 is between 1e-8 and 1e-5, depending on the matrix; each of the
    two refinement steps squares it. Eigenvalues closer than ``close`` are not refined.

    Reference: Ogita and Aishima (2018), "Iterative Refinement for Symmetric Eigenvalue Decomposition",
    algorithm 1.
    """
    values, vectors = tf.linalg.eigh(matrix)
    for _ in range(2):
        gram = tf.linalg.matmul(vectors, vectors, transpose_a=True)
        defect = tf.eye(matrix.shape[0], dtype=matrix.dtype) - gram
        rotated = tf.linalg.matmul(vectors, matrix @ vectors, transpose_a=True)
        values = tf.linalg.diag_part(rotated) / tf.linalg.diag_part(gram)
        gaps = values - values[:, None]
        close = 2 * (tf.norm(rotated - tf.linalg.diag(values)) + tf.norm(matrix) * tf.norm(defect))
        correction = tf.where(tf.abs(gaps) > close, (rotated + values * defect) / gaps, defect / 2)
        vectors += vectors @ correction
    return values, vectors

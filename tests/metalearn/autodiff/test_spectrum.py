"""The Lanczos iteration compared with dense eigenvalues, also at breakdown; densities with traces."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn.autodiff import (
    Density,
    Lanczos,
    extreme_eigenvalues,
    hessian,
    hvp,
    lanczos,
    spectral_density,
)

SEED = (0, 1)


def compress(matrix, iterations, seed=SEED, run=tf.function):
    """Return the compression of a matrix, in NumPy."""
    matrix = tf.constant(matrix)
    operator = lambda x: tf.linalg.matvec(matrix, x)  # noqa: E731
    result = run(lambda: lanczos(operator, matrix[0], iterations=iterations, seed=seed))()
    return Lanczos(*(leaf.numpy() for leaf in result))


@pytest.fixture(scope="module")
def symmetric():
    matrix = np.random.default_rng(0).standard_normal((50, 50))
    return (matrix + matrix.T) / 2


def tridiagonal(result):
    return np.diag(result.alphas) + np.diag(result.betas, 1) + np.diag(result.betas, -1)


def check(result, matrix, tolerance):
    """Compare all properties of a decomposition with NumPy."""
    basis, compressed = result.basis, tridiagonal(result)
    size = len(basis)
    np.testing.assert_allclose(basis @ basis.T, np.eye(size), rtol=0, atol=tolerance)
    np.testing.assert_allclose(basis @ matrix @ basis.T, compressed, rtol=0, atol=10 * tolerance)
    np.testing.assert_allclose(result.values, np.linalg.eigvalsh(compressed), rtol=0, atol=10 * tolerance)
    # Equal values share their weight in any way: compare moments, which are those of the first vector.
    for power in range(min(size, 3)):
        moment = basis[0] @ np.linalg.matrix_power(matrix, power) @ basis[0]
        np.testing.assert_allclose(
            np.sum(result.weights * result.values**power),
            moment,
            rtol=0,
            atol=100 * tolerance * max(1, np.abs(matrix).max()) ** power,
        )
    assert (result.weights >= 0).all()
    eigenvalues = np.linalg.eigvalsh(matrix)
    distances = np.abs(eigenvalues[:, None] - result.values).min(0)
    assert (distances <= result.bounds + 10 * tolerance).all()


def test_all_eigenvalues_of_a_random_matrix(symmetric):
    result = compress(symmetric, 50)
    check(result, symmetric, 1e-14)
    eigenvalues, vectors = np.linalg.eigh(symmetric)
    np.testing.assert_allclose(result.values, eigenvalues, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.bounds, 0, atol=1e-12)
    np.testing.assert_allclose(result.weights, (vectors.T @ result.basis[0]) ** 2, rtol=0, atol=1e-12)


def test_fewer_iterations_than_dimensions(symmetric):
    result = compress(symmetric, 20)
    check(result, symmetric, 1e-14)
    eigenvalues = np.linalg.eigvalsh(symmetric)
    assert eigenvalues[0] <= result.values[0]
    assert result.values[-1] <= eigenvalues[-1]
    values, vectors = np.linalg.eigh(tridiagonal(result))
    ritz = result.basis.T @ vectors
    residuals = np.linalg.norm(symmetric @ ritz - values * ritz, axis=0)
    np.testing.assert_allclose(result.bounds, residuals, rtol=0, atol=1e-12)


def test_more_iterations_than_dimensions():
    matrix = np.diag([1.0, 2.0, 5.0])
    result = compress(matrix, 10)
    assert result.values.shape == (3,)
    np.testing.assert_allclose(result.values, [1, 2, 5], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((4, 4)),
        np.eye(4),
        np.ones((1, 1)),
        np.ones((5, 5)),
        np.diag([1.0, 1, 2, 2, 2]),
        np.diag([1e8, 1, 0]),
    ],
)
def test_breakdown(matrix):
    result = compress(matrix, 5)
    check(result, matrix, 1e-14 * max(1, np.abs(matrix).max()))
    np.testing.assert_allclose(
        result.values, np.linalg.eigvalsh(matrix), rtol=0, atol=1e-14 * max(1, np.abs(matrix).max())
    )


def test_low_rank(with_xla):
    factor = np.random.default_rng(3).standard_normal((50, 3))
    matrix = factor @ factor.T
    check(compress(matrix, 8, run=with_xla), matrix, 1e-13)
    check(compress(matrix.astype(np.float32), 8), matrix, 3e-6)


def test_the_seed_decides():
    first, again, other = (compress(np.diag(np.arange(6.0)), 3, seed).alphas for seed in (SEED, SEED, (0, 2)))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_extreme_eigenvalues_of_a_hessian(network):
    loss, parameters = network
    eigenvalues = np.linalg.eigvalsh(hessian(loss, parameters, mode="reverse_over_reverse"))
    operator = tf.function(lambda v: hvp(loss, parameters, v, "reverse_over_reverse"), autograph=False)
    exact = extreme_eigenvalues(operator, parameters, iterations=100, seed=SEED)
    np.testing.assert_allclose([exact.smallest, exact.largest], eigenvalues[[0, -1]], rtol=0, atol=1e-12)
    rough = extreme_eigenvalues(operator, parameters, iterations=8, seed=SEED)
    assert eigenvalues[0] - 1e-12 <= rough.smallest
    assert rough.largest <= eigenvalues[-1] + 1e-12
    assert np.abs(eigenvalues - rough.largest).min() <= rough.largest_bound + 1e-12
    assert np.abs(eigenvalues - rough.smallest).min() <= rough.smallest_bound + 1e-12


def density_of(matrix, run=tf.function, **options):
    """Return the density of a matrix, in NumPy; one probe after the other, which is quicker to trace."""
    matrix = tf.constant(matrix)
    options = {"iterations": 10, "probes": 5, "seed": SEED, "vectorized": False, **options}
    operator = lambda x: {"x": tf.linalg.matvec(matrix, x["x"])}  # noqa: E731
    result = run(lambda: spectral_density(operator, {"x": matrix[0]}, **options))()
    return Density(*(leaf.numpy() for leaf in result))


def test_density_integrates_to_one_and_has_the_mean_of_the_spectrum(symmetric, in_graph):
    eager = density_of(symmetric, run=lambda function: function, iterations=5)
    compiled = density_of(symmetric, run=in_graph, vectorized=True, iterations=5)
    for leaf, other in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(leaf, other, rtol=0, atol=1e-11)
    grid, density = eager.grid, eager.density
    np.testing.assert_allclose(np.trapezoid(density, grid), 1, rtol=0, atol=1e-9)
    means = np.sum(eager.weights * eager.values, 1)
    np.testing.assert_allclose(np.trapezoid(density * grid, grid), means.mean(), rtol=0, atol=1e-8)
    # For x uniform on the sphere, var(x'A x) = 2 (|A|^2 - trace^2 / P) / (P (P + 2)).
    size, trace = len(symmetric), np.trace(symmetric)
    deviation = np.sqrt(2 * (np.sum(symmetric**2) - trace**2 / size) / (size * (size + 2)))
    assert abs(means.mean() - trace / size) < 3 * deviation / np.sqrt(5)
    assert 0.4 * deviation < means.std() < 2 * deviation


def test_density_of_two_levels():
    """Two eigenvalues result in two Gaussians of the given width, with the right weights on average."""
    matrix = np.diag([1.0] * 30 + [3.0] * 10)
    grid = np.linspace(0, 4, 4001)
    result = density_of(matrix, grid=grid, width=0.1, iterations=5, probes=60)
    upper = np.trapezoid(np.where(grid > 2, result.density, 0), grid)
    shares = np.sum(np.where(result.values > 2, result.weights, 0), 1)
    np.testing.assert_allclose(upper, shares.mean(), rtol=1e-9)
    # The share is Beta(5, 15): a quarter, with variance 3/16/21.
    assert abs(upper - 0.25) < 3 * np.sqrt(3 / 16 / 21 / 60)
    peak = (1 - shares.mean()) / (0.1 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(result.density[1000], peak, rtol=1e-9)


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), 2 * np.eye(3)])
def test_density_of_a_single_level(matrix):
    result = density_of(matrix, probes=2)
    np.testing.assert_allclose(np.trapezoid(result.density, result.grid), 1, rtol=0, atol=1e-8)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="iterations must be"):
        compress(np.eye(3), 0)
    with pytest.raises(ValueError, match="probes must be"):
        density_of(np.eye(3), probes=0)
    with pytest.raises(ValueError, match="points must be an integer of at least 2"):
        density_of(np.eye(3), points=1)
    with pytest.raises(ValueError, match="the operator's result"):
        lanczos(lambda x: x[:1], tf.zeros(3), iterations=2, seed=SEED)

"""Linear solvers compared with dense ones, for well- and ill-conditioned systems and without a solution."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn.autodiff import Solution, conjugate_gradient, neumann

B = np.array([1.0, -2.0, 0.5, 3.0])


def solved(*arguments, **options):
    """Return what conjugate_gradient returns, in NumPy."""
    return Solution(*(leaf.numpy() for leaf in conjugate_gradient(*arguments, **options)))


def product(matrix):
    return lambda x: tf.linalg.matvec(matrix, x)


def test_conjugate_gradient_equals_the_dense_solution(positive_definite):
    matrix, b = positive_definite(30, 1e2), np.random.default_rng(0).standard_normal(30)
    solution = solved(product(matrix), tf.constant(b), max_iterations=100, tolerance=1e-13)
    np.testing.assert_allclose(solution.x, np.linalg.solve(matrix, b), rtol=0, atol=1e-10)
    assert solution.converged
    assert not solution.indefinite
    np.testing.assert_allclose(
        solution.residual_norm, np.linalg.norm(b - matrix @ solution.x), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize(("condition", "most", "tolerance"), [(1e6, 400, 1e-9), (1e8, 4000, 1e-7)])
def test_ill_conditioned(positive_definite, with_xla, condition, most, tolerance):
    """Solutions equal the dense one, to a tolerance of about 1e-16 times the condition number."""
    matrix, b = positive_definite(30, condition), np.random.default_rng(0).standard_normal(30)
    exact = tf.linalg.solve(matrix, b[:, None])[:, 0]
    solve = with_xla(lambda b: conjugate_gradient(product(matrix), b, max_iterations=most, tolerance=1e-12))
    solution = solve(tf.constant(b))
    assert solution.converged
    assert 30 < solution.iterations < most
    np.testing.assert_allclose(solution.x, exact, rtol=0, atol=tolerance * np.abs(exact).max())


def test_float32_stops_at_its_own_rounding(positive_definite):
    matrix = positive_definite(30, 1e3).astype(np.float32)
    b = np.random.default_rng(0).standard_normal(30).astype(np.float32)
    solution = solved(product(matrix), tf.constant(b), max_iterations=200, tolerance=0.0)
    assert solution.converged
    assert not solution.indefinite
    true = np.linalg.norm(b - matrix.astype(float) @ solution.x.astype(float))
    np.testing.assert_allclose(solution.residual_norm, true, rtol=0.2)
    assert 1e-6 < true / np.linalg.norm(b) < 1e-4


def test_zero_right_hand_side():
    for start in (None, B):
        solution = solved(product(tf.eye(4, dtype=tf.float64)), 0 * B, max_iterations=5, x0=start)
        np.testing.assert_array_equal(solution.x, np.zeros(4))
        assert (int(solution.iterations), float(solution.residual_norm)) == (0, 0)
        assert solution.converged


def test_convergence_at_the_first_step_keeps_the_step():
    solution = conjugate_gradient(lambda x: x, {"b": B}, max_iterations=5)
    np.testing.assert_allclose(solution.x["b"], B, rtol=1e-15)
    assert int(solution.iterations) == 1
    assert solution.converged


def test_exact_start_takes_no_step(positive_definite):
    matrix = positive_definite(4, 10)
    solution = solved(product(matrix), tf.constant(matrix @ B), x0=B, max_iterations=5)
    np.testing.assert_allclose(solution.x, B, rtol=1e-15)
    assert int(solution.iterations) == 0
    assert solution.converged


def test_a_good_start_is_used(positive_definite):
    matrix = positive_definite(4, 10)
    exact = np.linalg.solve(matrix, B)
    solution = solved(product(matrix), B, x0=tf.constant(exact + 0.1), max_iterations=20, tolerance=1e-13)
    np.testing.assert_allclose(solution.x, exact, rtol=0, atol=1e-12)


def test_damping_is_added_to_the_diagonal(positive_definite):
    matrix = positive_definite(4, 1e3)
    for damping in (0.3, tf.constant(0.3, tf.float64)):
        solution = solved(product(matrix), B, damping=damping, max_iterations=20, tolerance=1e-14)
        np.testing.assert_allclose(
            solution.x, np.linalg.solve(matrix + 0.3 * np.eye(4), B), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize(
    ("diagonal", "iterations"), [([-1, -1, -1, -1], 0), ([0, 0, 0, 0], 0), ([1, 2, -1, 3], None)]
)
def test_indefinite_operators_are_reported(diagonal, iterations):
    matrix = np.diag(np.array(diagonal, float))
    solution = solved(product(matrix), B, max_iterations=20)
    assert solution.indefinite
    assert not solution.converged
    assert np.isfinite(solution.x).all()
    np.testing.assert_allclose(solution.residual_norm, np.linalg.norm(B - matrix @ solution.x), rtol=1e-14)
    assert solution.residual_norm <= np.linalg.norm(B)
    assert iterations is None or int(solution.iterations) == iterations


def test_indefinite_operators_give_the_best_iterate():
    """For an indefinite operator, the iterate with the smallest residual is returned, as computed by hand."""
    diagonal, b = np.array([4.0, 3.0, -0.1]), np.array([1.0, 1.0, 0.2])
    rate = b @ b / (b @ (diagonal * b))
    first = rate * b
    residual = b - diagonal * first
    direction = residual + residual @ residual / (b @ b) * b
    assert direction @ (diagonal * direction) > 0
    second = first + residual @ residual / (direction @ (diagonal * direction)) * direction
    norms = [np.linalg.norm(b - diagonal * x) for x in (0 * b, first, second)]
    best = (0 * b, first, second)[int(np.argmin(norms))]
    solution = solved(product(np.diag(diagonal)), tf.constant(b), max_iterations=20)
    assert solution.indefinite
    assert int(solution.iterations) == 2
    np.testing.assert_allclose(solution.x, best, rtol=1e-12)
    np.testing.assert_allclose(solution.residual_norm, min(norms), rtol=1e-12)


def test_singular_operator_with_a_solution(positive_definite):
    factor = np.random.default_rng(0).standard_normal((6, 3))
    matrix = factor @ factor.T
    b = tf.constant(matrix @ np.ones(6))
    solution = solved(product(matrix), b, max_iterations=50, tolerance=1e-10)
    assert solution.converged
    np.testing.assert_allclose(matrix @ solution.x, b, rtol=0, atol=1e-8)


def test_not_a_number_is_not_hidden():
    for operator, b in ((lambda x: x * np.nan, B), (lambda x: x, B * [1, 1, 1, np.nan])):
        solution = solved(operator, b, max_iterations=3)
        assert np.isnan(solution.x).any()
        assert not solution.converged


def test_numbers_whose_squares_vanish():
    b = tf.constant([1e-30, 2e-30, -1e-30])
    solution = solved(lambda x: x * [1.0, 2.0, 4.0], b, max_iterations=5)
    np.testing.assert_allclose(solution.x, [1e-30, 1e-30, -2.5e-31], rtol=1e-6)
    assert solution.converged


def test_tasks_that_converge_at_different_times(with_xla):
    """The solution of a converged task does not change while other tasks continue.

    Conjugate gradients end after as many iterations as the operator has distinct eigenvalues, 1, 2 and 4:
    the residual falls from above 1e-3 to rounding there, so that the count does not depend on rounding.
    """
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))
    spectra = np.array([[2.0, 2, 2, 2, 2, 2], [1.0, 1, 1, 3, 3, 3], [1.0, 1, 2, 2, 4, 8]])
    matrices = basis * spectra[:, None] @ basis.T
    bs = np.random.default_rng(1).standard_normal((3, 6))

    def solve(matrices, bs, most):
        def one(task):
            matrix, b = task
            return conjugate_gradient(
                lambda x: {"x": product(matrix)(x["x"])}, {"x": b}, max_iterations=most, tolerance=1e-9
            )

        return tf.vectorized_map(one, (matrices, bs), fallback_to_while_loop=False)

    together = with_xla(lambda *tasks: solve(*tasks, 20))(tf.constant(matrices), tf.constant(bs))
    np.testing.assert_allclose(
        together.x["x"], np.linalg.solve(matrices, bs[..., None])[..., 0], rtol=0, atol=1e-12
    )
    assert together.converged.numpy().all()
    np.testing.assert_array_equal(together.iterations, [1, 2, 4])
    for task, count in enumerate((1, 2, 4)):
        one = (tf.constant(matrices[task : task + 1]), tf.constant(bs[task : task + 1]))
        short = solve(*one, count)
        assert short.converged.numpy().all()
        np.testing.assert_allclose(together.x["x"][task], short.x["x"][0], rtol=0, atol=1e-14)
        if count > 1:
            assert float(solve(*one, count - 1).residual_norm[0]) > 1e-3 * np.linalg.norm(bs[task])


def test_neumann_sums_exactly_the_documented_terms(positive_definite):
    matrix, scale = positive_definite(4, 5), 0.7
    step = np.eye(4) - scale * matrix
    for terms in (1, 2, 5):
        result = neumann(
            lambda x: {"x": product(matrix)(x["x"])},
            {"x": B},
            scale=tf.constant(scale, tf.float64),
            terms=terms,
        )
        powers = [np.linalg.matrix_power(step, power) @ B for power in range(terms + 1)]
        np.testing.assert_allclose(result.x["x"], scale * np.sum(powers[:-1], 0), rtol=1e-14)
        np.testing.assert_allclose(result.residual_norm, np.linalg.norm(powers[-1]), rtol=1e-13)


def test_neumann_converges_to_the_solution_or_shows_that_it_does_not(positive_definite, with_xla):
    matrix = positive_definite(4, 5)
    result = with_xla(lambda b: neumann(product(matrix), b, scale=1.0, terms=200))(tf.constant(B))
    np.testing.assert_allclose(result.x, np.linalg.solve(matrix, B), rtol=1e-12)
    assert result.residual_norm < 1e-12
    assert neumann(product(matrix), B, scale=2.5, terms=50).residual_norm > 10 * np.linalg.norm(B)


def test_arguments_are_checked():
    def solve(**changes):
        return conjugate_gradient(lambda x: x, {"b": B}, **{"max_iterations": 5, **changes})

    with pytest.raises(ValueError, match="max_iterations must be an integer of at least 1"):
        solve(max_iterations=0)
    with pytest.raises(ValueError, match="damping must be at least 0, got -1"):
        solve(damping=-1.0)
    with pytest.raises(ValueError, match="tolerance must be at least 0, got nan"):
        solve(tolerance=float("nan"))
    with pytest.raises(ValueError, match=r"x0 .*missing \['b'\], unknown \['c'\]"):
        solve(x0={"c": B})
    with pytest.raises(ValueError, match="the operator's result has"):
        conjugate_gradient(lambda x: x[:1], B, max_iterations=5)
    with pytest.raises(ValueError, match="terms must be"):
        neumann(lambda x: x, B, scale=1.0, terms=0)

"""Implicit differentiation of an inner step's fixed point, against closed forms; and what it reports."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from tests.metalearn.tracking import Tracking
from tests.metalearn.tracking import phi as tracking_phi

SOLVERS = {
    "conjugate_gradient": ml.estimators.implicit(iterations=8, of="step"),
    "neumann": ml.estimators.implicit("neumann", 300, of="step"),
}
MATRIX = np.array([[2.0, 0.5, -0.3], [0.5, 1.5, 0.4], [-0.3, 0.4, 1.0]])
LINEAR, TARGET, RATE = np.array([1.0, -2.0, 0.6]), np.array([0.2, 0.7, -0.4]), 0.3


@dataclasses.dataclass(frozen=True)
class Own:
    """A user-defined rule: ``(gradients, state, parameters, values, step) -> (parameters, state)``."""

    update: object

    def learnable(self, parameters):
        """Return nothing."""
        return {}

    hyperparameters = learnable

    def init(self, parameters):
        """Return an empty state."""
        return ()


def quadratic(rule, steps=300, values=lambda phi: {}):
    """Return inner ``w'Aw/2 - (b + phi.linear)'w`` and outer ``|w - t|^2 / 2``; a problem without data."""
    return ml.BilevelProblem(
        start=lambda phi, task: {"w": tf.zeros(3, tf.float64)},
        inner_loss=lambda theta, phi, batch, model: tf.tensordot(
            theta["w"], tf.linalg.matvec(MATRIX, theta["w"]) / 2 - LINEAR - phi["linear"], 1
        ),
        outer_loss=lambda theta, phi, task, model: tf.reduce_sum(tf.square(theta["w"] - TARGET)) / 2,
        rule=rule,
        steps=steps,
        hyperparameters=values,
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_projected_gradient_descent(in_graph, solver):
    """Gradients through projection onto a box with learned bounds equal the closed form, to 1e-10.

    The second element is at its lower bound, the others are free (F): ``A_FF w_F = b_F - A_FB w_B``, so that
    ``d w_F / d b_F = A_FF^-1``, ``d w_F / d w_B = -A_FF^-1 A_FB``, and w_B is its bound.
    """

    def update(gradients, state, parameters, values, step):
        moved = parameters["w"] - RATE * gradients["w"]
        return {"w": tf.minimum(tf.maximum(moved, values["lower"]), values["upper"])}, state

    phi = {
        "linear": tf.constant([0.1, -0.1, 0.2], tf.float64),
        "box": {"lower": tf.constant([-1.0, -0.5, -1.0], tf.float64), "upper": 2 * tf.ones(3, tf.float64)},
    }
    problem = quadratic(Own(update), values=lambda phi: phi["box"])
    result = in_graph(lambda phi: SOLVERS[solver](problem, phi, ml.Task((), ()))[0])(phi)
    free, bound = [0, 2], 1
    inverse = np.linalg.inv(MATRIX[np.ix_(free, free)])
    w = np.full(3, -0.5)
    w[free] = inverse @ ((LINEAR + phi["linear"].numpy())[free] - MATRIX[free, bound] * w[bound])
    assert np.all(w[free] < 2)
    assert (MATRIX @ w - LINEAR - phi["linear"].numpy())[bound] > 0  # held by its bound
    slope = w - TARGET
    linear = np.zeros(3)
    linear[free] = inverse @ slope[free]
    lower = np.array([0, slope[bound] - slope[free] @ inverse @ MATRIX[free, bound], 0])
    np.testing.assert_allclose(result.inner.parameters["w"][0], w, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.gradient["linear"], linear, rtol=0, atol=1e-10)
    np.testing.assert_allclose(result.gradient["box"]["lower"], lower, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(result.gradient["box"]["upper"], np.zeros(3))
    assert result.residual["stationarity"][0] < 1e-12
    assert result.residual["solver"][0] < 1e-10


@pytest.mark.parametrize("solver", SOLVERS)
def test_momentum(in_graph, solver):
    """With momentum, the fixed point is the minimum, and the gradient is ``A^-1 (w* - t)``, to 1e-10."""
    phi = {"linear": tf.constant([0.1, -0.1, 0.2], tf.float64)}
    problem = quadratic(ml.rules.momentum(RATE, 0.5))
    result = in_graph(lambda phi: SOLVERS[solver](problem, phi, ml.Task((), ()))[0])(phi)
    w = np.linalg.solve(MATRIX, LINEAR + phi["linear"].numpy())
    np.testing.assert_allclose(result.inner.parameters["w"][0], w, rtol=0, atol=1e-12)
    expected = np.linalg.solve(MATRIX, w - TARGET)
    np.testing.assert_allclose(result.gradient["linear"], expected, rtol=0, atol=1e-10)
    assert result.residual["stationarity"][0] < 1e-12
    assert result.residual["solver"][0] < 1e-10


def contraction(steps):
    """Return ``x = tanh(W x + phi)`` as an inner problem, ``|x - t|^2 / 2`` outside, and W."""
    matrix = tf.constant([[0.3, -0.4, 0.1], [0.2, 0.1, 0.3], [-0.1, 0.5, 0.2]], tf.float64)
    rule = Own(
        lambda gradients, state, parameters, values, step: (
            {"x": tf.tanh(tf.linalg.matvec(matrix, parameters["x"]) + values)},
            state,
        )
    )
    problem = ml.BilevelProblem(
        start=lambda phi, task: {"x": tf.zeros(3, tf.float64)},
        inner_loss=lambda theta, phi, batch, model: tf.reduce_sum(tf.square(theta["x"])) / 2,
        outer_loss=lambda theta, phi, task, model: tf.reduce_sum(tf.square(theta["x"] - TARGET)) / 2,
        rule=rule,
        steps=steps,
        hyperparameters=lambda phi: phi,
    )
    return problem, matrix.numpy()


def iterate(matrix, phi, steps):
    """Return x after so many steps."""
    x = np.zeros(3)
    for _ in range(steps):
        x = np.tanh(matrix @ x + phi)
    return x


PHI = np.array([0.3, -0.2, 0.5])


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_equilibrium(in_graph, solver):
    """For ``x = tanh(W x + phi)``, the gradient is ``((I - D W)^-1 D)' (x* - t)``, to 1e-10.

    ``D = diag(1 - x*^2)``; phi is a single tensor.
    """
    problem, matrix = contraction(200)
    result = in_graph(lambda phi: SOLVERS[solver](problem, phi, ml.Task((), ()))[0])(tf.constant(PHI))
    x = iterate(matrix, PHI, 1000)
    inner = np.diag(1 - x**2)
    expected = np.linalg.solve(np.eye(3) - inner @ matrix, inner).T @ (x - TARGET)
    np.testing.assert_allclose(result.inner.parameters["x"][0], x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.gradient, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("solver", ["conjugate_gradient", "neumann"])
def test_residuals_short_of_convergence(solver):
    """After two steps and two solver iterations, both residuals equal those of NumPy, to 1e-10.

    They are ``|step(x) - x|`` and ``|b - (I - J)'v|

    |b|`` for NumPy's v.
    """
    problem, matrix = contraction(2)
    estimator = ml.estimators.implicit(solver, 2, of="step")
    result, _ = estimator(problem, tf.constant(PHI), ml.Task((), ()))
    x, after = iterate(matrix, PHI, 2), iterate(matrix, PHI, 3)
    jacobian = np.diag(1 - after**2) @ matrix
    away, b = np.eye(3) - jacobian, x - TARGET
    if solver == "neumann":
        v = b + jacobian.T @ b
    else:
        normal, u, residual = away.T @ away, np.zeros(3), b
        direction = residual
        for _ in range(2):
            image = normal @ direction
            rate = residual @ residual / (direction @ image)
            u, new = u + rate * direction, residual - rate * image
            direction, residual = new + new @ new / (residual @ residual) * direction, new
        v = away @ u
    relative = np.linalg.norm(b - away.T @ v) / np.linalg.norm(b)
    assert relative > 1e-3
    np.testing.assert_allclose(result.residual["stationarity"], [np.linalg.norm(after - x)], rtol=1e-12)
    np.testing.assert_allclose(result.residual["solver"], [relative], rtol=1e-10)
    np.testing.assert_array_equal(result.residual["negative_curvature"], [0])
    np.testing.assert_allclose(result.gradient, np.diag(1 - after**2) @ v, rtol=0, atol=1e-12)


def test_residuals_of_a_loss():
    """Residuals are the norm of the inner gradient, the solver's, and whether a curvature is negative."""
    for curvature, indefinite in ((1.0, 0), (-3.0, 1)):
        problem = dataclasses.replace(
            quadratic(ml.rules.sgd(RATE), 2),
            inner_loss=lambda theta, phi, batch, model, curvature=curvature: tf.reduce_sum(
                tf.constant([2.0, curvature, 1.0], tf.float64) * tf.square(theta["w"]) / 2
                - (LINEAR + phi["linear"]) * theta["w"]
            ),
        )
        phi = {"linear": tf.zeros(3, tf.float64)}
        result, _ = ml.estimators.implicit(iterations=3)(problem, phi, ml.Task((), ()))
        diagonal = np.array([2.0, curvature, 1.0])
        w = (1 - (1 - RATE * diagonal) ** 2) * LINEAR / diagonal
        distance = np.linalg.norm(diagonal * w - LINEAR)
        np.testing.assert_allclose(result.residual["stationarity"], [distance], rtol=1e-12)
        np.testing.assert_array_equal(result.residual["negative_curvature"], [indefinite])
        assert (result.residual["solver"][0] < 1e-12) == (not indefinite)


def test_a_model_with_a_state_needs_the_step():
    """With ``of="loss"``, a model with a state is an error, because its dependence would be ignored."""
    tracking = Tracking(1)
    with pytest.raises(ValueError, match=r"ignores how the model's state .*implicit\(of='step'\)"):
        ml.estimators.implicit()(tracking.problem, tracking_phi(), tracking.tasks())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"of": "rule"}, "of must be one of loss, step, got 'rule'"),
        ({"of": "step", "scale": 0.1}, "scale belongs to the solver neumann"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    """The message names the argument, its value and the valid values."""
    with pytest.raises(ValueError, match=message):
        ml.estimators.implicit(**arguments)

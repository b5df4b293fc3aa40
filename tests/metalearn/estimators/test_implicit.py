"""Implicit differentiation is exact at the solution, and equals its definition elsewhere."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

# From the project's design notes, section 6: proximal strength 2.
SOLUTION, META_GRADIENT = [2 / 3, 0.3, 0.1], [0.2444444, 0.4, -0.2666667]
PROXIMAL = 2.0


@pytest.mark.parametrize(
    "estimator",
    [ml.estimators.implicit(iterations=3), ml.estimators.implicit("neumann", 200, scale=0.2)],
    ids=["conjugate_gradient", "neumann"],
)
def test_published(quadratic, published, in_graph, estimator):
    """At the solution, both solvers give the closed form to 1e-12, and the published digits to 1e-7."""
    meta, tasks = published
    problem = quadratic(150, PROXIMAL, 0.2).problem
    result = in_graph(lambda meta: estimator(problem, meta, tasks)[0])(meta)
    np.testing.assert_allclose(result.inner.parameters["p"][0], SOLUTION, rtol=0, atol=1e-12)
    found = result.gradient["parameters"]["p"]
    np.testing.assert_allclose(found, META_GRADIENT, rtol=0, atol=1e-7)
    curvature = tasks.support.inputs[0] + PROXIMAL
    expected = PROXIMAL * (SOLUTION - tasks.query.targets[0]) / curvature
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_iterations_are_those_of_the_solver(quadratic, quadratic_tasks, one_task, published):
    """Two iterations of conjugate gradients and three terms of the series equal NumPy's, to 1e-12."""
    (meta, _), tasks = published, quadratic_tasks(1)
    reference, task = quadratic(2, PROXIMAL), one_task(tasks, 0)
    adapted, _ = reference.path(task, meta["parameters"]["p"].numpy())
    curvature, right = task.support.inputs + PROXIMAL, adapted - task.query.targets

    def conjugate_gradient(damping):
        x, residual = np.zeros(3), right
        direction = residual
        for _ in range(2):
            image = (curvature + damping) * direction
            rate = residual @ residual / (direction @ image)
            x, new = x + rate * direction, residual - rate * image
            direction, residual = new + new @ new / (residual @ residual) * direction, new
        return x

    def neumann(damping):
        return 0.1 * sum((1 - 0.1 * (curvature + damping)) ** power * right for power in range(3))

    for damping in (0.0, 0.7):
        for estimator, expected in (
            (ml.estimators.implicit(iterations=2, damping=damping), conjugate_gradient(damping)),
            (ml.estimators.implicit("neumann", 3, damping=damping, scale=0.1), neumann(damping)),
        ):
            found = estimator(reference.problem, meta, tasks)[0].gradient["parameters"]["p"]
            np.testing.assert_allclose(found, PROXIMAL * expected, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_at_convergence_it_is_the_gradient_through_the_steps(sinusoids, as_vector, in_graph):
    """After 100 steps of a network with a proximal term, results equal those of nested tapes, to 1e-6."""
    model = ml.models.mlp(hidden=(3,), activation="tanh", dtype="float64")
    implicit, unrolled = (
        ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.1), 100, estimator=estimator, proximal=PROXIMAL)
        for estimator in (ml.estimators.implicit(iterations=20), ml.estimators.unrolled())
    )
    meta = implicit.initialize(0)
    found, reference = (in_graph(learner.meta_gradient)(meta, sinusoids) for learner in (implicit, unrolled))
    scale = np.abs(as_vector(reference.gradient)).max()
    assert found.residual.keys() > {"stationarity", "solver"}
    same = found._replace(residual=reference.residual)  # which nested tapes have none of
    np.testing.assert_allclose(as_vector(same), as_vector(reference), rtol=0, atol=1e-6 * scale)
    losses = implicit.adapt(meta, sinusoids.support, steps=0).support_loss
    plain = dataclasses.replace(unrolled, proximal=0.0)
    np.testing.assert_array_equal(losses, plain.adapt(meta, sinusoids.support, steps=0).support_loss)
    distance = sum(
        np.sum((value - meta["parameters"][key]).numpy() ** 2, axis=tuple(range(1, value.shape.rank)))
        for key, value in found.inner.parameters.items()
    )
    with_term, without = (
        learner.losses(meta, sinusoids, found.inner)["inner/loss"] for learner in (implicit, plain)
    )
    np.testing.assert_allclose(with_term, without + PROXIMAL / 2 * distance, rtol=1e-12)


def test_hyperparameter_optimisation_needs_no_proximal_term(in_graph, as_float64):
    """The derivative of ridge regression by the logarithm of its penalty equals the closed form, to 1e-9.

    ``w = (X'X/n + e^d I)^-1 X'y/n``, ``d w / d d = -e^d (X'X/n + e^d I)^-1 w``.
    """
    random = np.random.default_rng(0)
    (x, xq), (y, yq) = random.normal(size=(2, 20, 3)), random.normal(size=(2, 20, 1))

    def loss(theta, batch):
        return tf.reduce_mean(tf.square(batch.inputs @ theta["w"] - batch.targets))

    problem = ml.BilevelProblem(
        start=lambda meta, task: {"w": tf.zeros((3, 1), tf.float64)},
        inner_loss=lambda theta, meta, batch, model: (
            loss(theta, batch) / 2 + tf.exp(meta["decay"]) / 2 * tf.reduce_sum(theta["w"] ** 2)
        ),
        outer_loss=lambda theta, meta, task, model: loss(theta, task.query),
        rule=ml.rules.sgd(0.5),
        steps=150,
    )
    tasks = as_float64(ml.Task(ml.Batch(x[None], y[None]), ml.Batch(xq[None], yq[None])))
    meta = {"decay": tf.constant(-1.0, tf.float64), "rule": {}}
    estimator = ml.estimators.implicit(iterations=3)
    found = in_graph(lambda meta: estimator(problem, meta, tasks)[0])(meta)
    matrix = x.T @ x / 20 + np.exp(-1) * np.eye(3)
    w = np.linalg.solve(matrix, x.T @ y / 20)
    np.testing.assert_allclose(found.inner.parameters["w"][0], w, rtol=0, atol=1e-12)
    slope = 2 * xq.T @ (xq @ w - yq) / 20
    expected = -np.exp(-1) * (slope.T @ np.linalg.solve(matrix, w)).item()
    np.testing.assert_allclose(found.gradient["decay"], expected, rtol=1e-9)


def test_learned_hyperparameters_are_refused():
    """The learner's constructor rejects learned hyperparameters of the rule, with names and remedy."""
    rule = ml.rules.momentum(ml.rules.learned(0.1, per="variable"), ml.rules.learned(0.5))
    message = r"rule/learning_rate/output/bias, .*, rule/momentum: hyperparameters of the rule.*checkpointed"
    with pytest.raises(ValueError, match=message):
        ml.MetaLearner(
            ml.models.mlp(hidden=()), ml.losses.mse, rule, estimator=ml.estimators.implicit(), proximal=1.0
        )


def test_a_start_without_influence_is_named(sinusoids):
    """Without a proximal term, adapted initial parameters have no gradient, and the error names them."""
    learner = ml.MetaLearner(
        ml.models.mlp(hidden=(2,), dtype="float64"),
        ml.losses.mse,
        ml.rules.sgd(),
        adapted="output/*",
        estimator=ml.estimators.implicit(),
    )
    message = "no gradient for parameters/output/bias, parameters/output/kernel: .*proximal > 0"
    with pytest.raises(ValueError, match=message):
        learner.meta_gradient(learner.initialize(0), sinusoids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"solver": "cholesky"}, "solver must be one of conjugate_gradient, neumann, got 'cholesky'"),
        ({"iterations": 0}, "iterations must be an integer of at least 1, got 0"),
        ({"damping": -1.0}, "damping .* must be a finite number above 0, got -1.0"),
        ({"scale": 0.1}, "scale belongs to the solver neumann"),
        ({"solver": "neumann"}, "neumann needs scale, below 2 / "),
        ({"solver": "neumann", "scale": 0.0}, "scale must be a finite number above 0, got 0.0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    """The message names the argument, its value and the valid values."""
    with pytest.raises(ValueError, match=message):
        ml.estimators.implicit(**arguments)


@pytest.mark.parametrize("proximal", [-1.0, float("nan"), None])
def test_bad_proximal_strengths_are_refused(proximal):
    """The learner rejects a negative or non-finite proximal strength, and the message names the value."""
    with pytest.raises(ValueError, match=rf"proximal \(0 for none\) must be .* above 0, got {proximal}"):
        ml.MetaLearner(ml.models.mlp(), ml.losses.mse, ml.rules.sgd(), proximal=proximal)


def test_no_proximal_term_adds_nothing_to_the_graph(sinusoids, in_graph):
    """With a strength of 0, the graph has as many nodes as without a proximal term."""

    def nodes(**arguments):
        learner = ml.MetaLearner(
            ml.models.mlp(hidden=(), dtype="float64"), ml.losses.mse, ml.rules.sgd(), **arguments
        )
        graph = in_graph(learner.meta_gradient).get_concrete_function(learner.initialize(0), sinusoids).graph
        definition = graph.as_graph_def()
        return len(definition.node) + sum(len(each.node_def) for each in definition.library.function)

    assert nodes(proximal=0.0) == nodes()
    assert nodes(proximal=1.0) > nodes()


@pytest.mark.parametrize("of", ["loss", pytest.param("step", marks=pytest.mark.slow)])
def test_a_warm_start_goes_on_where_the_solver_ended(quadratic, quadratic_tasks, published, of):
    """With a warm start and one product per call, the residual falls below 1e-3 of the first in 60 calls.

    The first call equals one without a warm start, and a carry that is not finite counts as the initial one.
    """
    (meta, _), tasks = published, quadratic_tasks(2)
    problem = quadratic(2, PROXIMAL).problem
    estimator = ml.estimators.implicit(iterations=1, of=of, warm_start=True)
    cold = ml.estimators.implicit(iterations=1, of=of)
    call = tf.function(lambda carry: estimator(problem, meta, tasks, carry), autograph=False)
    carry = estimator.init(problem, meta, tasks)
    first, after = call(carry)
    np.testing.assert_allclose(
        first.gradient["parameters"]["p"],
        cold(problem, meta, tasks)[0].gradient["parameters"]["p"],
        rtol=1e-12,
    )
    spoilt = tf.nest.map_structure(lambda leaf: leaf + np.nan, carry)
    tf.nest.map_structure(np.testing.assert_array_equal, call(spoilt), (first, after))
    for _ in range(60):
        last, after = call(after)
    assert (last.residual["solver"] < 1e-3 * first.residual["solver"]).numpy().all()


def test_a_warm_start_of_the_series_is_refused():
    """A warm start is an error for the Neumann series, which always sums from zero."""
    with pytest.raises(ValueError, match="warm_start belongs to the solver conjugate_gradient"):
        ml.estimators.implicit("neumann", scale=0.1, warm_start=True)

"""The bilevel problem for a quadratic, for which all results have closed forms."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.inner_loop import inner_gradient, inner_start, inner_step, solve

CURVATURE = np.array([1.0, 2.0, 4.0])
LINEAR = np.ones(3)
TARGET = np.array([0.3, -0.5, 0.9])
START = np.array([0.5, 0.1, -0.2])
RATE = 0.1

# From the project's design notes, section 6: (meta-gradient of MAML, first-order, Reptile's p0 - pK).
PUBLISHED = {
    1: ([0.225, 0.544, -0.552], [0.25, 0.68, -0.92], [-0.05, -0.08, -0.18]),
    3: (
        [0.2445795, 0.4071424, -0.1613952],
        [0.3355, 0.7952, -0.7472],
        [-0.1355, -0.1952, -0.3528],
    ),
}


def quadratic(steps):
    """Return inner ``p'Hp/2 - b'p`` and outer ``p'p/2 - q'p`` under gradient descent, H diagonal."""
    return ml.BilevelProblem(
        start=lambda meta, task: meta["parameters"],
        inner_loss=lambda theta, meta, batch, model: tf.reduce_sum(
            CURVATURE * tf.square(theta["p"]) / 2 - LINEAR * theta["p"]
        ),
        outer_loss=lambda theta, meta, task, model: tf.reduce_sum(
            tf.square(theta["p"]) / 2 - TARGET * theta["p"]
        ),
        rule=ml.rules.sgd(RATE),
        steps=steps,
    )


def meta_parameters():
    """Return phi, which is the starting point."""
    return {"parameters": {"p": tf.constant(START)}, "rule": {}}


def unused_tasks(tasks=1):
    """Return tasks whose examples mean nothing; input i of task t is t."""
    inputs = tf.tile(tf.range(tasks, dtype=tf.float64)[:, None, None], [1, 2, 1])
    return ml.Task(ml.Batch(inputs, inputs), ml.Batch(inputs, inputs))


def after(steps):
    """Return p_K and the matrix ``d p_K / d p_0 = (I - a H)^K``, a diagonal.

    ``p_{k+1} - p* = (I - a H) (p_k - p*)`` with ``p* = H^-1 b``.
    """
    optimum, contraction = LINEAR / CURVATURE, (1 - RATE * CURVATURE) ** steps
    return optimum + contraction * (START - optimum), contraction


@pytest.mark.parametrize("steps", [0, 1, 3, 7])
@pytest.mark.parametrize("name", ["unrolled", "checkpointed", "first_order"])
def test_meta_gradient_of_the_quadratic(in_graph, name, steps):
    """Meta-gradients are ``(I - a H)^K (p_K - q)``, or ``p_K - q`` for first order, to 1e-12."""
    estimator, problem = getattr(ml.estimators, name)(), quadratic(steps)
    estimate = in_graph(lambda meta, tasks: estimator(problem, meta, tasks)[0])
    result = estimate(meta_parameters(), unused_tasks())
    adapted, contraction = after(steps)
    outer = adapted - TARGET
    expected = outer if name == "first_order" else contraction * outer
    found = result.gradient["parameters"]["p"].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.per_task["parameters"]["p"], expected[None], rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.inner.parameters["p"], adapted[None], rtol=0, atol=1e-12)
    loss = np.sum(adapted**2 / 2 - TARGET * adapted)
    np.testing.assert_allclose(result.loss, [loss], rtol=0, atol=1e-12)
    if steps in PUBLISHED:
        exact, first_order, reptile = PUBLISHED[steps]
        published = first_order if name == "first_order" else exact
        np.testing.assert_allclose(found, published, rtol=0, atol=1e-7)
        np.testing.assert_allclose(START - result.inner.parameters["p"][0], reptile, rtol=0, atol=1e-7)


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("name", ["unrolled", "checkpointed", "first_order"])
def test_meta_gradient_of_the_quadratic_eagerly(name, steps):
    """Eagerly, where theta_0 is a leaf of phi itself, the results are the same, to 1e-12."""
    result, _ = getattr(ml.estimators, name)()(quadratic(steps), meta_parameters(), unused_tasks(2))
    adapted, contraction = after(steps)
    expected = (adapted - TARGET) * (1 if name == "first_order" else contraction)
    np.testing.assert_allclose(result.gradient["parameters"]["p"], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.inner.parameters["p"], [adapted, adapted], rtol=0, atol=1e-12)


@pytest.mark.parametrize("steps", [-1, 1.0, True])
def test_bad_steps_are_refused(steps):
    """The message names the argument and the value."""
    with pytest.raises(ValueError, match=f"steps must be an integer of at least 0, got {steps}"):
        quadratic(steps)


def test_inner_pieces():
    """Start, gradient ``H p - b`` and step ``p - a (H p - b)`` equal NumPy's; the start is a new tensor."""
    problem, meta, task = quadratic(1), meta_parameters(), unused_tasks()
    start = inner_start(problem, meta, task)
    assert start.parameters["p"] is not meta["parameters"]["p"]
    np.testing.assert_array_equal(start.parameters["p"], START)
    loss, _, gradient = inner_gradient(problem, start.parameters, meta, task.support, ())
    np.testing.assert_allclose(loss, np.sum(CURVATURE * START**2 / 2 - LINEAR * START), rtol=1e-14)
    np.testing.assert_allclose(gradient["p"], CURVATURE * START - LINEAR, rtol=1e-14)
    moved = inner_step(problem, start, meta, task, 0)
    np.testing.assert_allclose(moved.parameters["p"], after(1)[0], rtol=1e-14)


@pytest.mark.parametrize("steps", [0, 3])
def test_solve_measures_every_task_at_every_step(steps):
    """Measurements of every task at every step have the shape ``[T, K+1, ...]``, for the given K."""
    inner, (points, seen) = solve(
        quadratic(5),
        meta_parameters(),
        unused_tasks(2),
        steps,
        lambda inner, task: (inner.parameters["p"], task.query.inputs),
    )
    np.testing.assert_array_equal(inner.step, [steps, steps])
    expected = np.stack([after(step)[0] for step in range(steps + 1)])
    assert points.shape == (2, steps + 1, 3)
    assert seen.shape == (2, steps + 1, 2, 1)
    for task in range(2):
        np.testing.assert_allclose(inner.parameters["p"][task], expected[-1], rtol=0, atol=1e-14)
        np.testing.assert_allclose(points[task], expected, rtol=0, atol=1e-14)
        np.testing.assert_array_equal(seen[task], np.full((steps + 1, 2, 1), task))

"""Meta-losses of several inner steps: every estimator that supports them, compared with NumPy."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

CASES = [
    # estimator, steps, number of steps at the end that it differentiates exactly
    (ml.estimators.unrolled(), 3, 3),
    (ml.estimators.checkpointed(), 3, 3),
    (ml.estimators.checkpointed(), 7, 7),
    (ml.estimators.truncated(2), 3, 2),
    (ml.estimators.truncated(2), 7, 2),
    (ml.estimators.first_order(), 3, 0),
    (ml.estimators.first_order(), 7, 0),
]


@pytest.mark.parametrize(("estimator", "steps", "window"), CASES)
def test_on_a_quadratic(quadratic, published, in_graph, estimator, steps, window):
    """The gradient is ``sum_k w_k (p_k - q) d p_k

    d p_0``, w_0 included, to 1e-13.

    Steps are in Python (3) or in a graph loop (7).
    """
    weights = np.linspace(0.3, 1.1, steps + 1)
    problem = quadratic(steps, options={"step_weights": tf.constant(weights)}).problem
    meta, tasks = published
    found = in_graph(lambda meta, tasks: estimator(problem, meta, tasks)[0])(meta, tasks)
    task = tf.nest.map_structure(lambda leaf: leaf[0].numpy(), tasks)
    start = meta["parameters"]["p"].numpy()
    loss, gradient = 0.0, np.zeros(3)
    for step, weight in enumerate(weights):
        until = quadratic(step)
        p, jacobian = until.path(task, start, exact_from=steps - window)
        loss += weight * until.loss(task, start)
        gradient += weight * (p - task.query.targets) * jacobian
    np.testing.assert_allclose(found.loss[0], loss, rtol=1e-13)
    np.testing.assert_allclose(found.gradient["parameters"]["p"], gradient, rtol=0, atol=1e-13)


REFUSING = [
    ml.estimators.reptile(),
    ml.estimators.implicit(),
    ml.estimators.evolution(sigma=0.1, pairs=1),
    ml.estimators.forward_mode(),
]


@pytest.mark.parametrize("estimator", REFUSING, ids=["reptile", "implicit", "evolution", "forward_mode"])
def test_the_others_refuse(quadratic, published, estimator):
    problem = quadratic(1, options={"step_weights": tf.constant([0.5, 0.5])}).problem
    with pytest.raises(ValueError, match="step_weights"):
        estimator(problem, *published)

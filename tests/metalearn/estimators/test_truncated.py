"""Truncated back-propagation: exact through the last steps, inner gradients constant in the earlier ones."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

RATE = 0.2


def by_stopping_gradients(problem, meta, task, window):
    """Return one task's meta-loss and meta-gradient: one tape, and ``stop_gradient`` on early gradients."""
    with tf.GradientTape() as tape:
        tape.watch(meta)
        theta = dict(meta["parameters"])
        for step in range(problem.steps):
            with tf.GradientTape() as inner:
                inner.watch(theta)
                loss = problem.inner_loss(theta, meta, task.support, ())
            gradients = inner.gradient(loss, theta)
            if step < problem.steps - window:
                gradients = {key: tf.stop_gradient(value) for key, value in gradients.items()}
            rate = meta["rule"]["learning_rate"]
            theta = {key: theta[key] - rate[key] * gradients[key] for key in theta}
        loss = problem.outer_loss(theta, meta, task, ())
    return loss, tape.gradient(loss, meta)


@pytest.mark.parametrize(
    ("steps", "window"),
    [(2, 1), *(pytest.param(*each, marks=pytest.mark.slow) for each in [(4, 1), (6, 4), (4, 3), (8, 1)])],
)
def test_equals_one_tape_with_stopped_gradients(
    network, sinusoids, as_vector, in_graph, one_task, steps, window
):
    """Gradients of theta_0, rates and regulariser equal those of a tape with stopped gradients, to 1e-12.

    Steps are in Python (2, 4) or in a graph loop (6, 8).
    """
    rule = ml.rules.sgd(ml.rules.learned(RATE, per="element"))
    problem, meta = network(rule, steps)
    estimator = ml.estimators.truncated(window)
    result = in_graph(lambda meta, tasks: estimator(problem, meta, tasks)[0])(meta, sinusoids)
    exact, _ = in_graph(lambda *a: ml.estimators.checkpointed()(problem, *a))(meta, sinusoids)
    reference = in_graph(lambda meta, task: by_stopping_gradients(problem, meta, task, window))
    for index in range(3):
        task = tf.nest.map_structure(tf.constant, one_task(sinusoids, index))
        loss, gradient = reference(meta, task)
        np.testing.assert_allclose(result.loss[index], loss, rtol=1e-13)
        found = as_vector(tf.nest.map_structure(lambda leaf, index=index: leaf[index], result.per_task))
        np.testing.assert_allclose(found, as_vector(gradient), rtol=0, atol=1e-12)
    difference = np.linalg.norm(as_vector(result.gradient) - as_vector(exact.gradient))
    assert difference > 1e-3 * np.linalg.norm(as_vector(exact.gradient))


@pytest.mark.parametrize(
    ("window", "same"),
    [
        (0, "first_order"),
        *(pytest.param(window, "checkpointed", marks=pytest.mark.slow) for window in (3, 9)),
    ],
)
def test_ends_of_the_range(sinusoids, as_vector, in_graph, window, same):
    """A window of 0 equals first order, and one of at least K steps the exact gradient, to 1e-12."""
    model = ml.models.mlp(hidden=(4,), dtype="float64")
    learners = [
        ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(), 3, estimator=estimator)
        for estimator in (ml.estimators.truncated(window), getattr(ml.estimators, same)())
    ]
    meta = learners[0].initialize(0)
    results = [as_vector(in_graph(learner.meta_gradient)(meta, sinusoids)) for learner in learners]
    np.testing.assert_allclose(*results, rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [-1, 1.0, None])
def test_bad_windows_are_refused(window):
    """The message names the argument and the value."""
    with pytest.raises(ValueError, match=f"window must be an integer of at least 0, got {window}"):
        ml.estimators.truncated(window)

"""Influence balancing: the system in NumPy, and the long-term effect of theta."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


def test_the_system_in_numpy():
    """After 200 steps, state and loss equal NumPy's; ``s[0]`` is -6 theta, so that -1/6 has no loss."""
    matrix, signs = 0.5 * (np.eye(23) + np.eye(23, k=1)), np.array([1.0] * 10 + [-1.0] * 13)
    for theta in (0.5, -1 / 6):
        learner = ml.problems.influence_balancing(200, theta, ml.estimators.frozen())
        task = ml.Task(tf.zeros([1]), tf.zeros([1]))
        found = learner.meta_gradient(learner.initialize(0), task)
        state = np.zeros(23)
        for _ in range(200):
            state = matrix @ state + theta * signs
        np.testing.assert_allclose(found.inner.parameters["s"][0], state, rtol=1e-5)
        np.testing.assert_allclose(state[0], -6 * theta, rtol=1e-12)
        np.testing.assert_allclose(found.loss, [(state[0] - 1) ** 2 / 2], rtol=1e-4, atol=1e-10)


def test_a_start_that_is_not_finite_is_refused():
    """The message names the argument and its value."""
    with pytest.raises(ValueError, match="initial must be a finite number, got nan"):
        ml.problems.influence_balancing(initial=float("nan"))

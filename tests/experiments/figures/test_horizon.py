"""The figure of long inner loops: what is measured, to closed forms, and what is drawn."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from experiments.harness.figures import horizon
from tests.experiments.figures.drawn import png

RATE, STEPS = 0.5, 4


@pytest.mark.slow
def test_measured_are_closed_forms():
    """Norms of cotangents, variances and distances equal closed forms; those of evolution are close."""
    problem = ml.BilevelProblem(
        start=lambda phi, task: {"p": phi},
        inner_loss=lambda theta, phi, batch, model: tf.reduce_sum(theta["p"] ** 2) / 2,
        outer_loss=lambda theta, phi, task, model: tf.reduce_sum(theta["p"]),
        rule=ml.rules.sgd(RATE),
        steps=STEPS,
    )
    learner = ml.BilevelLearner(problem, start=tf.ones([2]))
    tasks = ml.tasks.dataset(ml.Task(tf.zeros([1]), tf.zeros([1])))
    found = horizon.measured(learner, {"before": tf.ones([2]), "learned": tf.zeros([2])}, tasks)
    factors = 2**0.5 * (1 - RATE) ** np.arange(STEPS, -1, -1)
    for norms in found.growth.values():
        np.testing.assert_allclose(norms, factors[None], rtol=1e-6)
    assert found.estimates["exact"] == (pytest.approx(0, abs=1e-10), 0)
    # The variance of a pair is 3 |a|^2 in two dimensions, |a| the length of the gradient.
    variance, distance = found.estimates["evolution"]
    assert variance == pytest.approx(3 * factors[0] ** 2 * 2 * STEPS, rel=0.5)
    assert distance < factors[0] / 4
    # Of the first two steps, theta_0 is left, without the factors.
    away = 2**0.5 * ((1 - RATE) ** 2 - (1 - RATE) ** 4)
    assert found.estimates["last 2 steps alone"] == (pytest.approx(0, abs=1e-10), pytest.approx(away))


def test_what_is_drawn():
    growth = {"before": np.ones((2, 3)), "learned": 10.0 ** np.arange(6).reshape(2, 3)}
    estimates = {"exact": (0.0, 0.0), "evolution": (2.0, 0.5)}
    figure = horizon.draw(horizon.Horizon(growth, estimates))
    left, variance, distance = figure.axes
    assert left.get_yscale() == "log"
    np.testing.assert_allclose(left.lines[-1].get_ydata(), np.median(growth["learned"], 0))
    assert [bar.get_width() for bar in variance.patches] == [0, 2]
    assert [bar.get_width() for bar in distance.patches] == [0, 0.5]
    assert png(figure).startswith(b"\x89PNG")

"""Problems without data: a game of two players, and three levels, against their recursions."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from tests.often import mostly_slow

EXACT = {
    "checkpointed": ml.estimators.checkpointed(),
    "forward_mode": ml.estimators.forward_mode(),
    "unrolled": ml.estimators.unrolled(),
}


def sigmoid(x):
    """Return ``1 / (1 + exp(-x))``."""
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("steps", [5, 8])
@pytest.mark.parametrize("name", EXACT)
def test_unrolled_dirac_gan(in_graph, name, steps):
    """The generator's gradient through the discriminator's steps equals the recursion, to 1e-12.

    Steps are in Python or in a graph loop. ``L(g, d) = softplus(g d)``; the discriminator descends: ``d' = d
    - a s(d g) g``, its derivative by g follows ``D' = D - a (s + d g s (1 - s) + s (1 - s) g^2 D)``. The
    generator's loss is ``-L(g, d_K)``.
    """
    g, d, rate = 0.8, 0.5, 0.3
    problem = ml.BilevelProblem(
        start=lambda phi, task: {"d": phi["d"]},
        inner_loss=lambda theta, phi, batch, model: tf.math.softplus(theta["d"] * phi["g"]),
        outer_loss=lambda theta, phi, task, model: -tf.math.softplus(theta["d"] * phi["g"]),
        rule=ml.rules.sgd(rate),
        steps=steps,
    )
    phi = {"g": tf.constant(g, tf.float64), "d": tf.constant(d, tf.float64)}
    result = in_graph(lambda phi: EXACT[name](problem, phi, ml.Task((), ()))[0])(phi)
    by_g, by_d = 0.0, 1.0
    for _ in range(steps):
        s = sigmoid(d * g)
        curvature = s * (1 - s)
        by_g = by_g - rate * (s + d * g * curvature + curvature * g * g * by_g)
        by_d = by_d - rate * curvature * g * g * by_d
        d = d - rate * s * g
    np.testing.assert_allclose(result.loss, [-np.log1p(np.exp(d * g))], rtol=1e-13)
    np.testing.assert_allclose(result.gradient["g"], -sigmoid(d * g) * (d + g * by_g), rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.gradient["d"], -sigmoid(d * g) * g * by_d, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", mostly_slow(EXACT, "checkpointed"))
def test_three_levels(in_graph, name):
    """The meta-gradient of three nested quadratics equals its closed form, to 1e-12.

    The lowest level is solved by :func:`metalearn.problems.adapted`. ``z_K(y) = c y`` with ``c = a (1 - (1 -
    r)^K)``; ``y_M(x) = B x`` with ``B = (1 - (1 - q (1 + c^2))^M)

    (1 + c^2)``; the meta-loss is ``((B x - 1)^2 + (c B x)^2)

    2``.
    """
    a, inner_rate, middle_rate, inner_steps, middle_steps, x = 0.7, 0.3, 0.2, 4, 3, 1.7
    low = ml.BilevelProblem(
        start=lambda phi, task: {"z": 0 * phi["y"]},
        inner_loss=lambda theta, phi, batch, model: tf.square(theta["z"] - a * phi["y"]) / 2,
        outer_loss=lambda theta, phi, task, model: theta["z"],
        rule=ml.rules.sgd(inner_rate),
        steps=inner_steps,
    )

    def cost(theta, target):
        z = ml.problems.adapted(low, theta, ml.Task((), ()))["z"]
        return tf.square(theta["y"] - target) / 2 + tf.square(z) / 2

    middle = ml.BilevelProblem(
        start=lambda phi, task: {"y": 0 * phi["x"]},
        inner_loss=lambda theta, phi, batch, model: cost(theta, phi["x"]),
        outer_loss=lambda theta, phi, task, model: cost(theta, 1.0),
        rule=ml.rules.sgd(middle_rate),
        steps=middle_steps,
    )
    estimate = in_graph(lambda phi: EXACT[name](middle, phi, ml.Task((), ()))[0])
    result = estimate({"x": tf.constant(x, tf.float64)})
    c = a * (1 - (1 - inner_rate) ** inner_steps)
    factor = (1 - (1 - middle_rate * (1 + c * c)) ** middle_steps) / (1 + c * c)
    np.testing.assert_allclose(result.loss, [((factor * x - 1) ** 2 + (c * factor * x) ** 2) / 2], rtol=1e-12)
    expected = factor * ((factor * x - 1) + c * c * factor * x)
    np.testing.assert_allclose(result.gradient["x"], expected, rtol=0, atol=1e-12)

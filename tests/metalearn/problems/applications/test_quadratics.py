"""Quadratic functions for learned optimizers: their distribution, and gradients compared with NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


def test_functions_are_drawn_as_said():
    task = ml.tasks.Quadratics(10).sample((0, 0), 2000)
    matrix, center = task.support["matrix"].numpy(), task.support["center"].numpy()
    np.testing.assert_allclose([matrix.std(), center.std()], [10**-0.5, 1], rtol=0.02)
    np.testing.assert_array_equal(task.query["matrix"], matrix)
    with pytest.raises(ValueError, match="size must be an integer of at least 1"):
        ml.tasks.Quadratics(0)


@pytest.mark.parametrize("averaged", [False, True])
def test_the_gradient_is_numpys(averaged):
    """Losses and the derivative by the rate equal those of the closed form of four steps, to 1e-6."""
    tasks, rate = ml.tasks.Quadratics(3).sample((0, 0), 2), 0.2

    def outer(rate):
        losses = []
        for matrix, center in zip(
            *(np.float64(tasks.query[key]) for key in ("matrix", "center")), strict=True
        ):
            curvature, away = matrix.T @ matrix, -center
            values = []
            for _ in range(4):
                away = away - rate * curvature @ away
                values.append(away @ curvature @ away / 2)
            losses.append(np.mean(values) if averaged else values[-1])
        return np.array(losses)

    learner = ml.problems.quadratics(3, ml.rules.sgd(ml.rules.learned(rate)), 4, averaged)
    found = learner.meta_gradient({"rule": {"learning_rate": tf.constant(rate, tf.float64)}}, tasks)
    np.testing.assert_allclose(found.loss, outer(rate), rtol=1e-6)
    expected = np.mean(outer(rate + 1e-5) - outer(rate - 1e-5)) / 2e-5
    np.testing.assert_allclose(found.gradient["rule"]["learning_rate"], expected, rtol=1e-6)


@pytest.mark.slow
def test_a_learned_optimizer_is_better_than_any_rate_of_adam():
    """On held-out functions, its loss after 20 steps is below 0.8 times Adam's at the best of five rates."""
    learned = ml.rules.learned(0.1, positive=True)
    rule = ml.rules.learned_mlp(learned, hidden=(16,), decays=(0.9, 0.5, 0.99), second_decay=0.99)
    learner, source = ml.problems.quadratics(10, rule, 20), ml.tasks.Quadratics(10)
    trainer = ml.MetaTrainer(learner, source, keras.optimizers.Adam(3e-3, global_clipnorm=1.0), 16)
    trainer.run(300)
    found = ml.evaluate(learner, trainer.meta, source, 200, 20).mean[-1]
    adam = ml.problems.quadratics(10, ml.rules.adam(learned), 20)
    rates = np.log([0.05, 0.1, 0.2, 0.3, 0.5])
    others = [
        ml.evaluate(adam, {"rule": {"learning_rate": tf.constant(rate, tf.float32)}}, source, 200, 20).mean[
            -1
        ]
        for rate in rates
    ]
    assert found < 0.8 * min(others)

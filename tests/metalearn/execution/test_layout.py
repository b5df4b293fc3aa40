"""The layout of steps and tasks in a program: steps are traced once, and numbered as in a Python loop."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution import layout

DATA = np.array([0.1, 0.2, 0.3])


def gradient(rule, steps, mapping="vectorized"):
    """Return the meta-gradient at phi = 2, and how many times the inner loss is traced."""
    traced = []

    def inner_loss(theta, phi, batch, model):
        traced.append(batch)
        return tf.reduce_mean(tf.square(theta["w"] - batch))

    problem = ml.BilevelProblem(
        start=lambda phi, task: {"w": phi * tf.ones(2)},
        inner_loss=inner_loss,
        outer_loss=lambda theta, phi, task, model: tf.reduce_sum(tf.square(theta["w"])),
        rule=rule,
        steps=steps,
        mapping=mapping,
        batch=lambda task, step: task.support + tf.cast(step, tf.float32),
    )
    tasks = ml.Task(tf.constant(DATA[:, None], tf.float32), ())
    estimate = tf.function(lambda phi: ml.estimators.checkpointed()(problem, phi, tasks)[0].gradient)
    return estimate(tf.constant(2.0)).numpy(), len(traced)


@dataclasses.dataclass(frozen=True)
class Scheduled(ml.Rule):
    """Gradient descent with one rate for each step, which needs the step's number as an integer."""

    rates: tuple[float, ...]

    def learnable(self, parameters):
        return ()

    def init(self, parameters):
        return ()

    def update(self, gradients, state, parameters, values, step):
        rate = self.rates[step]
        return {key: value - rate * gradients[key] for key, value in parameters.items()}, ()


def expected(rates):
    """Return the derivative of the sum of squares of both parameters; a step moves them to its batch."""
    ends = np.full(len(DATA), 2.0)
    for step, rate in enumerate(rates):
        ends -= rate * (ends - (DATA + step))
    return (2 * 2 * ends * np.prod(1 - np.array(rates))).mean()


def test_a_step_is_traced_once():
    """Forward and backward, whatever the number of steps; each step has its own batch."""
    counts = set()
    for steps in (2, layout.FUSED_STEPS):
        found, traced = gradient(ml.rules.sgd(0.3), steps)
        np.testing.assert_allclose(found, expected([0.3] * steps), rtol=1e-6)
        counts.add(traced)
    assert len(counts) == 1


@pytest.mark.parametrize("mapping", ["vectorized", "sequential", "auto"])
def test_a_rule_may_read_the_number_of_a_step(mapping):
    rates = (0.1, 0.2, 0.3, 0.4)
    found, _ = gradient(Scheduled(rates), len(rates), mapping)
    np.testing.assert_allclose(found, expected(rates), rtol=1e-6)

"""Orders nest: meta-gradients of problems whose losses are meta-losses themselves."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

ESTIMATORS = {
    "unrolled": ml.estimators.unrolled(),
    "checkpointed": ml.estimators.checkpointed(),
}


def learned_rate(steps):
    """Return a problem that learns the inner rate of another problem from the progress of meta-training.

    Inside, ``theta`` is a start that is adapted by gradient steps at the rate ``exp(phi)``; its loss is the
    meta-loss after them. The outer problem takes ``steps`` steps on theta and learns phi.
    """

    def loss(w, batch):
        return tf.reduce_mean(tf.square(tf.tanh(batch.inputs * w["a"]) * w["b"] - batch.targets))

    def adapted_loss(theta, meta, batch):
        halves = (ml.Batch(*(leaf[part] for leaf in batch)) for part in (slice(5), slice(5, 10)))
        task = ml.Task(*halves)
        inner = ml.BilevelProblem(
            start=lambda meta, task: meta["parameters"],
            inner_loss=lambda w, meta, batch, model: loss(w, batch),
            outer_loss=lambda w, meta, task, model: loss(w, task.query),
            rule=ml.rules.sgd(ml.rules.learned(0.1, positive=True)),
            steps=2,
        )
        phi = {"parameters": theta, "rule": {"learning_rate": meta["rate"]}}
        return inner.outer_loss(ml.problems.adapted(inner, phi, task), phi, task, ())

    return ml.BilevelProblem(
        start=lambda meta, task: meta["start"],
        inner_loss=lambda theta, meta, batch, model: adapted_loss(theta, meta, batch),
        outer_loss=lambda theta, meta, task, model: adapted_loss(theta, meta, task.query),
        rule=ml.rules.sgd(0.05),
        steps=steps,
    )


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_orders_nest(sinusoids, in_graph, estimator):
    """With an inner loss that is a meta-loss, gradients equal differences of the outer loss, to 1e-6."""
    problem = learned_rate(2)
    meta = {
        "start": {"a": tf.constant([0.7], tf.float64), "b": tf.constant([1.5], tf.float64)},
        "rate": tf.constant(-2.0, tf.float64),
        "rule": {},
    }
    estimate = in_graph(lambda meta: ESTIMATORS[estimator](problem, meta, sinusoids)[0])
    gradient = tf.nest.flatten(estimate(meta).gradient)
    leaves, step = tf.nest.flatten(meta), 1e-5
    for index, found in enumerate(gradient):
        ends = []
        for sign in (1, -1):
            moved = [leaf + sign * step * (place == index) for place, leaf in enumerate(leaves)]
            ends.append(np.mean(estimate(tf.nest.pack_sequence_as(meta, moved)).loss))
        expected = (ends[0] - ends[1]) / (2 * step)
        assert abs(expected) > 1e-3
        np.testing.assert_allclose(np.squeeze(found), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("estimator", "quantity"),
    [
        ("checkpointed", "gradient"),
        pytest.param("checkpointed", "loss", marks=pytest.mark.slow),
        pytest.param("unrolled", "gradient", marks=pytest.mark.slow),
    ],
)
def test_results_are_differentiable(sinusoids, in_graph, estimator, quantity):
    """A tape around an estimator gives the derivative by the learned rate, equal to differences to 1e-6.

    Also of the meta-gradient: third derivatives.
    """

    def loss(theta, meta, batch, model):
        return tf.reduce_mean(tf.square(tf.tanh(batch.inputs * theta["a"]) * theta["b"] - batch.targets))

    rule = ml.rules.sgd(ml.rules.learned(0.1, positive=True))
    problem = ml.BilevelProblem(
        start=lambda meta, task: meta["parameters"],
        inner_loss=loss,
        outer_loss=lambda theta, meta, task, model: loss(theta, meta, task.query, model),
        rule=rule,
        steps=2,
    )
    start = {"a": tf.constant([0.7], tf.float64), "b": tf.constant([1.5], tf.float64)}

    def value(rate):
        meta = {"parameters": start, "rule": {"learning_rate": rate}}
        result, _ = ESTIMATORS[estimator](problem, meta, sinusoids)
        return tf.add_n(
            [tf.reduce_sum(tf.square(leaf)) for leaf in tf.nest.flatten(getattr(result, quantity))]
        )

    def slope(rate):
        with tf.GradientTape() as tape:
            tape.watch(rate)
            square = value(rate)
        return tape.gradient(square, rate)

    rate, step = tf.constant(-2.0, tf.float64), 1e-5
    expected = (value(rate + step) - value(rate - step)) / (2 * step)
    assert abs(expected) > 1e-2
    np.testing.assert_allclose(in_graph(slope)(rate), expected, rtol=1e-6)

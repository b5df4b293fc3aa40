"""Nested tapes: with steps repeated on the way back, and within one another."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.bilevel import BilevelProblem, inner_start, inner_step

pytestmark = pytest.mark.slow  # minutes of tracing and compiling


@pytest.mark.parametrize("steps", [1, 6])
def test_remat_changes_nothing(network, sinusoids, as_vector, in_graph, steps):
    """Adam inside with a learned rate per variable, a regulariser in phi: every field to 1e-12."""
    problem, meta = network(ml.rules.adam(ml.rules.learned(0.05, per="variable")), steps)
    plain, remat = (
        in_graph(lambda meta, estimator=estimator: estimator(problem, meta, sinusoids))(meta)
        for estimator in (ml.estimators.unrolled(), ml.estimators.unrolled(remat=True))
    )
    np.testing.assert_allclose(as_vector(remat), as_vector(plain), rtol=0, atol=1e-12)
    assert np.abs(as_vector(plain.gradient)).min() > 1e-8


def test_remat_graphs_do_not_grow_with_the_steps(quadratic, published, in_graph):
    """50 steps make as many nodes as two, where plain tapes make more for each."""

    def nodes(remat, steps):
        problem = quadratic(steps).problem
        estimate = in_graph(lambda *a: ml.estimators.unrolled(remat)(problem, *a))
        graph = estimate.get_concrete_function(*published).graph.as_graph_def()
        return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)

    assert nodes(True, 2) == nodes(True, 50)
    assert nodes(False, 2) < nodes(False, 4)


def learned_rate(steps):
    """Return a problem over the rate of another: how fast does a meta-learned start get better?

    Inside, ``theta`` is a start that is adapted by gradient steps at the rate ``exp(phi)``; its loss is the
    meta-loss after them. The outer problem takes ``steps`` steps on theta and learns phi.
    """

    def loss(w, batch):
        return tf.reduce_mean(tf.square(tf.tanh(batch.inputs * w["a"]) * w["b"] - batch.targets))

    def adapted_loss(theta, meta, batch):
        support, query = (ml.Batch(*(leaf[part] for leaf in batch)) for part in (slice(5), slice(5, 10)))
        inner = BilevelProblem(
            initialize=lambda meta: meta["parameters"],
            inner_loss=lambda w, meta, batch: loss(w, batch),
            outer_loss=lambda w, meta, batch: loss(w, batch),
            rule=ml.rules.sgd(ml.rules.learned(0.1, positive=True)),
            steps=2,
        )
        phi = {"parameters": theta, "rule": {"learning_rate": meta["rate"]}}
        state = inner_start(inner, phi)
        for step in range(inner.steps):
            state = inner_step(inner, state, phi, support, step)
        return inner.outer_loss(state[0], phi, query)

    return BilevelProblem(
        initialize=lambda meta: meta["start"],
        inner_loss=adapted_loss,
        outer_loss=adapted_loss,
        rule=ml.rules.sgd(0.05),
        steps=steps,
    )


@pytest.mark.parametrize(
    "estimator",
    [ml.estimators.unrolled(), ml.estimators.unrolled(remat=True), ml.estimators.mixed_mode()],
    ids=["unrolled", "remat", "mixed_mode"],
)
def test_orders_nest(sinusoids, in_graph, estimator):
    """Third derivatives: an inner loss that is itself a meta-loss, against differences to 1e-6."""
    problem = learned_rate(2)
    meta = {
        "start": {"a": tf.constant([0.7], tf.float64), "b": tf.constant([1.5], tf.float64)},
        "rate": tf.constant(-2.0, tf.float64),
        "rule": {},
    }
    estimate = in_graph(lambda meta: estimator(problem, meta, sinusoids))
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

"""Forward mode: exact, in memory that does not depend on the steps, for few meta-parameters."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

pytestmark = pytest.mark.slow  # minutes of tracing and compiling


@pytest.mark.parametrize("steps", [1, 7])
def test_equals_repeated_steps(network, sinusoids, as_vector, in_graph, steps):
    """All results equal those of reverse mode to 1e-12, for learned rates, momentum and regulariser."""
    rule = ml.rules.momentum(ml.rules.learned(0.1, per="element", positive=True), ml.rules.learned(0.6))
    problem, meta = network(rule, steps)
    forward, reverse = (
        in_graph(lambda meta, estimator=estimator: estimator(problem, meta, sinusoids)[0])(meta)
        for estimator in (ml.estimators.forward_mode(), ml.estimators.checkpointed())
    )
    for field in ("loss", "gradient", "per_task", "inner"):
        found, reference = (as_vector(getattr(result, field)) for result in (forward, reverse))
        np.testing.assert_allclose(found, reference, rtol=0, atol=1e-12)
    used = as_vector(reverse.gradient) if steps > 1 else as_vector(reverse.gradient["parameters"])
    assert np.abs(used).min() > 1e-6


def test_graphs_do_not_grow_with_the_steps(quadratic, published, in_graph):
    """Graphs for 50 steps and for two have equally many nodes: nothing is stored for a step."""

    def nodes(steps):
        problem = quadratic(steps).problem
        estimate = in_graph(lambda *a: ml.estimators.forward_mode()(problem, *a)[0])
        graph = estimate.get_concrete_function(*published).graph.as_graph_def()
        return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)

    assert nodes(2) == nodes(50)


def test_the_limit(network, sinusoids):
    """One meta-parameter more than the limit is an error; in a learner, this counts learned rates only."""
    problem, meta = network(ml.rules.sgd(0.1), 1)
    with pytest.raises(
        ValueError, match=r"each of the 13 scalars .* limit is 12: use the estimator checkpointed"
    ):
        ml.estimators.forward_mode(limit=12)(problem, meta, sinusoids)
    model, estimator = ml.models.mlp(hidden=(4,)), ml.estimators.forward_mode(limit=13)
    with pytest.raises(ValueError, match="each of the 14 scalars"):
        ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(ml.rules.learned(0.1)), estimator=estimator)
    assert ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.1), estimator=estimator).steps == 1


def test_unused_phi_is_named(quadratic, published):
    """A meta-parameter on which the loss does not depend is an error, not a gradient of zero."""
    meta, tasks = published
    meta = {**meta, "unused": tf.constant(1.0, tf.float64)}
    with pytest.raises(ValueError, match="no gradient reaches unused:"):
        ml.estimators.forward_mode()(quadratic(1).problem, meta, tasks)


@pytest.mark.parametrize("limit", [0, 2.5])
def test_bad_limits_are_refused(limit):
    """The message names the argument and the value."""
    with pytest.raises(ValueError, match=f"limit must be an integer of at least 1, got {limit}"):
        ml.estimators.forward_mode(limit)

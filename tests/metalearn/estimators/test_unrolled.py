"""Nested tapes, and rematerialised steps."""

import numpy as np
import pytest

import metalearn as ml

pytestmark = pytest.mark.slow  # minutes of tracing and compiling


@pytest.mark.parametrize("steps", [1, 6])
def test_repeating_steps_changes_nothing(network, sinusoids, as_vector, in_graph, steps):
    """Rematerialised steps give the results of plain tapes to 1e-12, for Adam with learned rates."""
    problem, meta = network(ml.rules.adam(ml.rules.learned(0.05, per="variable")), steps)
    plain, repeated = (
        in_graph(lambda meta, estimator=estimator: estimator(problem, meta, sinusoids)[0])(meta)
        for estimator in (ml.estimators.unrolled(), ml.estimators.checkpointed())
    )
    np.testing.assert_allclose(as_vector(repeated), as_vector(plain), rtol=0, atol=1e-12)
    assert np.abs(as_vector(plain.gradient)).min() > 1e-8


def test_graphs_of_repeated_steps_do_not_grow_with_their_number(quadratic, published, in_graph):
    """Graphs of rematerialised steps do not grow with their number, while plain tapes add nodes per step."""

    def nodes(estimator, steps):
        problem = quadratic(steps).problem
        estimate = in_graph(lambda *a: estimator(problem, *a)[0])
        graph = estimate.get_concrete_function(*published).graph.as_graph_def()
        return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)

    repeated, plain = ml.estimators.checkpointed(), ml.estimators.unrolled()
    assert nodes(repeated, 6) == nodes(repeated, 50)
    assert nodes(plain, 6) < nodes(plain, 8)

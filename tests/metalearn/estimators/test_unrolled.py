"""Nested tapes with steps repeated on the way back."""

import numpy as np
import pytest

import metalearn as ml

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

"""The estimator that learns nothing."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


@pytest.mark.parametrize("mapping", ["vectorized", "sequential"])
def test_its_gradient_is_zero_and_the_rest_is_that_of_the_others(quadratic, published, in_graph, mapping):
    problem = quadratic(2, options={"mapping": mapping}).problem
    frozen, other = (
        in_graph(lambda meta, tasks, estimate=estimate: estimate(problem, meta, tasks)[0])(*published)
        for estimate in (ml.estimators.frozen(), ml.estimators.first_order())
    )
    for structure, like in ((frozen.gradient, other.gradient), (frozen.per_task, other.per_task)):
        tf.nest.map_structure(
            lambda ours, theirs: np.testing.assert_array_equal(ours, 0 * theirs), structure, like
        )
    np.testing.assert_allclose(frozen.loss, other.loss, rtol=1e-15)
    np.testing.assert_allclose(frozen.inner.parameters["p"], other.inner.parameters["p"], rtol=1e-15)

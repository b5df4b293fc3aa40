"""An estimator that changes during training."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

FIRST, THEN = ml.estimators.first_order(), ml.estimators.checkpointed()


@pytest.mark.parametrize("compiled", ["eager", "graph", "xla"])
def test_it_is_the_one_and_then_the_other(quadratic, published, in_graph, with_xla, compiled):
    """The first estimator is used up to the given fraction of iterations, then the second, to 1e-15.

    The iteration is a tensor, so that one program computes both.
    """
    estimator = ml.estimators.annealed(FIRST, THEN, iterations=10, fraction=0.3)
    problem = quadratic(2).problem
    wrap = {"eager": lambda function: function, "graph": in_graph, "xla": with_xla}[compiled]
    call = wrap(
        lambda meta, tasks, seed: estimator(problem, meta, tasks, estimator.init(problem, meta, tasks), seed)[
            0
        ]
    )
    expected = [each(problem, *published)[0].gradient["parameters"]["p"] for each in (FIRST, THEN)]
    assert np.abs(expected[0] - expected[1]).max() > 1e-2
    for iteration, right in ((0, 0), (2, 0), (3, 1), (10, 1)):
        found = call(*published, tf.constant([7, iteration])).gradient["parameters"]["p"]
        np.testing.assert_allclose(found, expected[right], rtol=0, atol=1e-15)


def test_what_a_part_refuses_it_refuses():
    estimator = ml.estimators.annealed(ml.estimators.reptile(), THEN, 10)
    with pytest.raises(ValueError, match="reptile cannot learn"):
        ml.MetaLearner(ml.models.mlp(), ml.losses.mse, ml.rules.sgd(), adapted="head", estimator=estimator)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((FIRST, THEN, 0), "iterations"), ((FIRST, THEN, 10, 1.5), "fraction"), ((FIRST, len, 10), "then")],
)
def test_bad_arguments_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        ml.estimators.annealed(*arguments)

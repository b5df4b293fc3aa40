"""Step weights: the values of the paper's code, and their use in a learner."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


def test_annealed_weights_are_those_of_the_papers_code():
    """Weights equal those of the paper's code: annealed in each epoch, then only the last is 1.

    They start at 1/S and are reduced by 1/(S E) per epoch to at least 0.03/S; the last is the rest.
    """
    steps, epochs = 5, 10
    weights = ml.step_weights.annealed(iterations=100 * epochs, fraction=0.01)
    for epoch in range(epochs):
        expected = np.full(steps, 1 / steps)
        for index in range(steps - 1):
            expected[index] = max(expected[index] - epoch / (steps * epochs), 0.03 / steps)
        highest = 1 - (steps - 1) * 0.03 / steps
        expected[-1] = min(expected[-1] + epoch * (steps - 1) / (steps * epochs), highest)
        found = weights(steps, tf.constant(epoch))
        np.testing.assert_allclose(found, [0, *expected], rtol=1e-6)
    for late in (epochs, 10**6):
        np.testing.assert_array_equal(weights(steps, tf.constant(late)), [0, 0, 0, 0, 0, 1])


@pytest.mark.parametrize(("steps", "expected"), [(0, [1]), (1, [0, 1]), (2, [0, 0.5, 0.5])])
def test_few_steps(steps, expected):
    np.testing.assert_array_equal(ml.step_weights.annealed(10)(steps, tf.constant(0)), expected)


@pytest.mark.parametrize(
    ("arguments", "named"), [((0,), "iterations"), ((10, 0.0), "fraction"), ((10, 2), "2")]
)
def test_bad_arguments_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        ml.step_weights.annealed(*arguments)


@pytest.mark.slow
def test_a_learner_takes_the_iteration_from_the_seed(sinusoids, in_graph, as_vector):
    """The gradient is the weighted sum of those of learners with fewer steps, at each iteration, to 1e-12."""
    model = ml.models.mlp(hidden=(4,), dtype="float64")

    def learner(steps, **options):
        return ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.1), steps, **options)

    weights = ml.step_weights.annealed(iterations=100, fraction=0.1)
    weighted = learner(2, step_weights=weights)
    meta = weighted.initialize(0)
    results = [in_graph(learner(steps).meta_gradient)(meta, sinusoids) for steps in (1, 2)]
    call = in_graph(weighted.meta_gradient)
    for iteration in (0, 5, 10):
        found = call(meta, sinusoids, tf.constant([3, iteration]))
        early, late = weights(2, tf.constant(iteration)).numpy()[1:].astype(np.float64)
        expected = early * as_vector(results[0].gradient) + late * as_vector(results[1].gradient)
        np.testing.assert_allclose(as_vector(found.gradient), expected, rtol=0, atol=1e-12)
        expected_loss = early * results[0].loss + late * results[1].loss
        np.testing.assert_allclose(found.loss, expected_loss, rtol=1e-12)


def test_an_estimator_of_the_last_step_alone_is_refused():
    with pytest.raises(ValueError, match=r"step_weights .* checkpointed"):
        ml.MetaLearner(
            ml.models.mlp(),
            ml.losses.mse,
            ml.rules.sgd(),
            estimator=ml.estimators.reptile(),
            step_weights=ml.step_weights.annealed(10),
        )


@pytest.mark.parametrize("count", [2, 4])
def test_another_number_of_weights_is_refused(count):
    """With two steps there are three weights: a fourth was ignored."""
    with pytest.raises(ValueError, match=rf"step_weights must have the shape \[3\].*got \({count},\)"):
        ml.MetaLearner(
            ml.models.mlp(), ml.losses.mse, ml.rules.sgd(), 2, step_weights=lambda steps, i: tf.ones([count])
        )

"""Persistent evolution: unbiased over windows, unlike truncation; its particles; its carry."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


def test_agrees_with_the_exact_gradient(quadratic, published, one_task, in_graph):
    """In each of three windows, the mean is within 4 standard errors of the gradient through all steps.

    The penalty on the distance from phi makes each window depend on phi. Without the accumulated noise of
    earlier windows, the mean would be the gradient of the last window, more than 20 standard errors away.
    """
    meta, tasks = published
    copies = tf.nest.map_structure(lambda leaf: tf.repeat(leaf, 800, 0), tasks)
    estimator, problem = ml.estimators.persistent_evolution(0.1, 32), quadratic(2, 1.0).problem
    estimate = in_graph(lambda carry, seed: estimator(problem, meta, copies, carry, seed))
    carry, task, start = estimator.init(problem, meta, copies), one_task(tasks, 0), [0.5, 0.1, -0.2]
    for window in range(1, 4):
        result, carry = estimate(carry, tf.constant([0, window]))
        found = result.per_task["parameters"]["p"].numpy()
        adapted, jacobian = quadratic(2 * window, 1.0).path(task, np.array(start))
        expected = jacobian * (adapted - task.query.targets)
        error = found.std(0, ddof=1) / np.sqrt(len(found))
        assert error.max() < 0.01
        assert (np.abs(found.mean(0) - expected) < 4 * error).all()
        np.testing.assert_allclose(result.inner.parameters["p"][0], adapted, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(result.inner.step, [2 * window] * 800)


def learned(estimator, rate, iterations, persistent):
    """Return theta after descent from 0.5 with windows of one step."""
    problem = ml.problems.influence_balancing().problem
    task = ml.Task(tf.zeros([1]), tf.zeros([1]))
    begun = ml.types.Inner({"s": tf.zeros([1, 23])}, {}, (), tf.zeros([1], tf.int32))

    @tf.function(jit_compile=True, autograph=False)
    def descend(carry):
        def body(index, theta, carry):
            tasks = task if persistent else task._replace(start=carry)
            seed = tf.stack([0, index])
            result, after = estimator(problem, theta, tasks, carry if persistent else (), seed)
            return index + 1, theta - rate * result.gradient, after if persistent else result.inner

        first = (tf.constant(0), tf.constant(0.5), carry)
        return tf.while_loop(lambda index, *_: index < iterations, body, first)[1]

    carry = estimator.init(problem, tf.constant(0.5), task) if persistent else begun
    return float(descend(carry))


def test_influence_balancing():
    """The learned theta is within 0.01 of -1/6, while truncated windows move it in the wrong direction."""
    found = learned(ml.estimators.persistent_evolution(0.1, 500), 1e-4, 5000, True)
    assert abs(found + 1 / 6) < 0.01
    assert learned(ml.estimators.checkpointed(), 1e-4, 2000, False) > 0.6


def test_pairs_begin_anew_at_different_times(quadratic, published):
    """With four pairs and four windows, one pair restarts in each call, the loop at phi in every fourth."""
    meta, tasks = published
    estimator, problem = ml.estimators.persistent_evolution(0.1, 4, windows=4), quadratic(1).problem
    carry = estimator.init(problem, meta, tasks)
    begins = []
    for call in range(8):
        _, carry = estimator(problem, meta, tasks, carry, (0, call))
        steps, noise = carry.inner.step.numpy(), carry.noise["parameters"]["p"].numpy()
        np.testing.assert_array_equal(steps[1:5], steps[5:])
        np.testing.assert_array_equal(steps[1:5] < 0, (noise == 0).all((1, 2)))
        begins.append((steps[:5] < 0).tolist())
    expected = [[call % 4 == 3, *[call % 4 == 3 - pair for pair in range(4)]] for call in range(8)]
    assert begins == expected


@pytest.mark.parametrize(
    "carried", ["persistent_evolution", pytest.param("implicit", marks=pytest.mark.slow)]
)
def test_a_training_goes_on_with_the_same_bits(quadratic, published, carried):
    """Two iterations, and three in a new trainer from its state, have the bits of five in one trainer."""
    meta, tasks = published

    @dataclasses.dataclass(frozen=True)
    class Same:
        constant = True

        def sample(self, seed, count):
            return tasks

    estimator = {
        "persistent_evolution": ml.estimators.persistent_evolution(0.1, 2, windows=3),
        "implicit": ml.estimators.implicit(iterations=1, warm_start=True),
    }[carried]

    def trainer():
        learner = ml.BilevelLearner(quadratic(2, 2.0).problem, estimator, {"parameters": meta["parameters"]})
        options = {"jit_compile": False, "check_derivatives": False}
        return ml.MetaTrainer(learner, Same(), keras.optimizers.SGD(0.1), 1, **options)

    first, second, whole = trainer(), trainer(), trainer()
    first.run(2)
    second.restore(first.state())
    second.run(3)
    whole.run(5)
    assert any(name.startswith("carried/estimator") for name in whole.state())
    for name, value in whole.state().items():
        np.testing.assert_array_equal(second.state()[name], value, err_msg=name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0.0, 1), "sigma"), ((0.1, 0), "pairs"), ((0.1, 1, 0), r"windows \(None for loops that never restart")],
)
def test_bad_arguments_are_refused(arguments, message):
    """The message names the argument and its value."""
    with pytest.raises(ValueError, match=message):
        ml.estimators.persistent_evolution(*arguments)


def test_a_carried_loop_is_refused(quadratic, published):
    """An inner loop that is continued is an error, because this estimator continues its own loops."""
    meta, tasks = published
    one = {"p": meta["parameters"]["p"][None]}
    start = ml.types.Inner(one, {}, (), tf.zeros([1], tf.int32))
    with pytest.raises(ValueError, match="does not support an inner loop that is continued"):
        ml.estimators.persistent_evolution(0.1, 1)(quadratic(1).problem, meta, tasks._replace(start=start))

"""Evaluation: statistics against NumPy, and losses against adapting and predicting by hand."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.evaluation import evaluation, task_list

STEPS, NUM_TASKS = 2, 7
TASKS = ml.tasks.Sinusoid(shots=5, queries=8)


def learner_of(hidden, steps=1):
    """Return a small learner."""
    return ml.MetaLearner(ml.models.mlp(hidden=hidden), ml.losses.mse, ml.rules.sgd(0.1), steps)


@pytest.fixture(scope="module")
def learner():
    """Return the learner that is evaluated."""
    return learner_of((4,))


@pytest.fixture(scope="module")
def report(learner):
    """Return its evaluation."""
    return ml.evaluate(learner, learner.initialize(0), TASKS, num_tasks=NUM_TASKS, steps=STEPS, seed=1)


def test_statistics(report):
    """Mean and half width ``1.96 std

    sqrt(n)`` equal NumPy's; the variance has n - 1 as denominator.
    """
    losses = report.per_task.astype(np.float64)
    assert losses.shape == (NUM_TASKS, STEPS + 1)
    np.testing.assert_array_equal(report.steps, [0, 1, 2])
    assert report.num_tasks == NUM_TASKS
    mean = losses.sum(0) / NUM_TASKS
    np.testing.assert_allclose(report.mean, mean, rtol=1e-12)
    deviation = np.sqrt(np.square(losses - mean).sum(0) / (NUM_TASKS - 1))
    np.testing.assert_allclose(report.ci95, 1.96 * deviation / np.sqrt(NUM_TASKS), rtol=1e-12)


def test_tasks_that_diverge_are_counted_and_leave_the_median():
    """Tasks diverge if their loss is not finite or above ten times the largest initial loss."""
    losses = np.array([[1.0, 0.5, 0.1], [2.0, 19.0, 21.0], [0.5, 0.4, np.nan], [1.5, 0.2, 0.2]])

    problem = ml.BilevelProblem(
        start=lambda phi, task: {"step": tf.zeros([])},
        inner_loss=lambda theta, phi, batch, model: -theta["step"] + 0 * phi,
        outer_loss=lambda theta, phi, task, model: tf.gather(task.query, tf.cast(theta["step"], tf.int32)),
        rule=ml.rules.sgd(1.0),
        steps=1,
    )
    learner = ml.BilevelLearner(problem, "first_order", tf.constant(0.0))
    data = ml.Task(tf.constant(losses, tf.float32), tf.constant(losses, tf.float32))

    class Listed:
        def sample(self, seed, tasks):
            seed = tf.cast(tf.convert_to_tensor(seed), tf.int32)
            # In the evaluation's order where its own list is drawn, in others elsewhere.
            places = (tf.range(tasks) + tf.where(seed[1] == -1, 0, seed[0] + 2 * seed[1])) % len(losses)
            return tf.nest.map_structure(lambda leaf: tf.gather(leaf, places), data)

    found = ml.evaluate(learner, tf.constant(0.0), Listed(), num_tasks=4, steps=2, seed=1)
    np.testing.assert_allclose(found.per_task, losses, rtol=1e-6)
    np.testing.assert_allclose(found.median, [1.25, 0.45, np.nan], rtol=1e-6)
    np.testing.assert_array_equal(found.diverged, [0, 0, 0.5])


def test_infinite_losses_have_no_interval_and_no_warning():
    """A warning of NumPy would be an error here; huge losses may have an infinite deviation."""
    curve = evaluation._curve(np.array([[1.0, 2.0, 3e38], [3.0, np.inf, 1.0]], np.float32))
    np.testing.assert_array_equal(curve.mean[:2], [2.0, np.inf])
    np.testing.assert_allclose(curve.ci95, [1.96, np.nan, 1.96 * 1.5e38], rtol=1e-6)


def test_losses_are_those_of_adapting_and_predicting(learner, report, in_graph):
    """Losses equal the query errors of ``adapt`` and ``predict`` after each number of steps, to 1e-5."""
    drawn, meta = TASKS.sample((1, task_list.EVALUATION_STREAM), NUM_TASKS), learner.initialize(0)
    for steps in range(STEPS + 1):
        adapt = in_graph(lambda meta, support, steps=steps: learner.adapt(meta, support, steps))
        fitted = adapt(meta, drawn.support)
        outputs = learner.predict(fitted.parameters, drawn.query.inputs)
        expected = np.mean(np.square(outputs - drawn.query.targets), axis=(1, 2))
        np.testing.assert_allclose(report.per_task[:, steps], expected, rtol=1e-5)


def test_parameters_that_are_told_change_nothing(learner, report):
    """Losses and hash do not depend on the parameters of the tasks in ``Task.info``."""

    class Untold:
        def sample(self, seed, tasks):
            return ml.Task(*TASKS.sample(seed, tasks)[:2])

    untold = ml.evaluate(learner, learner.initialize(0), Untold(), num_tasks=NUM_TASKS, steps=STEPS, seed=1)
    np.testing.assert_array_equal(untold.per_task, report.per_task)
    assert untold.tasks_hash == report.tasks_hash


def test_the_list_of_an_oracle_is_that_of_the_others(report):
    """A learner that receives the tasks' parameters is evaluated on the same tasks: their hash is equal."""
    oracle = ml.MetaLearner(ml.models.mlp(3, (4,)), ml.losses.mse, ml.rules.sgd())
    informed = dataclasses.replace(TASKS, informed=True)
    told = ml.evaluate(oracle, oracle.initialize(0), informed, num_tasks=NUM_TASKS, steps=0, seed=1)
    assert told.tasks_hash == report.tasks_hash


def test_many_tasks_are_evaluated_in_parts(learner, report, monkeypatch):
    """Chunks of three, three and one tasks have the losses of one chunk of seven to 1e-5, and its hash."""
    monkeypatch.setattr(task_list, "TASKS_AT_ONCE", 3)
    parts = ml.evaluate(learner, learner.initialize(0), TASKS, num_tasks=NUM_TASKS, steps=STEPS, seed=1)
    np.testing.assert_allclose(parts.per_task, report.per_task, rtol=1e-5)
    assert parts.tasks_hash == report.tasks_hash


def test_hash_is_of_the_tasks(report):
    """The hash is independent of the learner, and depends on the seed and the distribution of the tasks."""
    other = learner_of((), steps=3)

    def hash_of(tasks=TASKS, seed=1):
        meta = other.initialize(5)
        return ml.evaluate(other, meta, tasks, num_tasks=NUM_TASKS, steps=0, seed=seed).tasks_hash

    assert hash_of() == report.tasks_hash
    others = {hash_of(seed=2), hash_of(ml.tasks.Sinusoid(shots=5, queries=8, phase=(0, 1)))}
    assert len(others | {report.tasks_hash}) == 3


def test_evaluation_tasks_are_not_those_of_training(report):
    """Evaluation tasks differ from training tasks with the same seed, because their streams are negative."""
    assert task_list.EVALUATION_STREAM < 0
    evaluated, trained = (TASKS.sample((1, block), 5) for block in (task_list.EVALUATION_STREAM, 0))
    assert not np.intersect1d(evaluated.support.inputs, trained.support.inputs).size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_tasks": 0}, "num_tasks must be an integer of at least 1, got 0"),
        ({"steps": -1}, "steps must be an integer of at least 0, got -1"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"num_tasks": 2.5}, "num_tasks must be an integer of at least 1, got 2.5"),
    ],
)
def test_bad_arguments_are_refused(learner, arguments, message):
    """The message names the argument and its value."""
    with pytest.raises(ValueError, match=message):
        ml.evaluate(learner, learner.initialize(0), TASKS, **arguments)


def test_models_that_do_not_fit_the_tasks_are_refused():
    """The message names the shapes of outputs and targets."""
    learner = ml.MetaLearner(ml.models.mlp(1, (), 2), ml.losses.mse, ml.rules.sgd())
    with pytest.raises(ValueError, match=r"outputs of shape \(2,\), the tasks' targets have \(1,\)"):
        ml.evaluate(learner, learner.initialize(0), TASKS)


class Fixed:
    """A source in NumPy that always returns the same tasks."""

    constant = True

    def sample(self, seed, tasks):
        x = np.linspace(-1, 1, 5 * tasks, dtype=np.float32).reshape(tasks, 5, 1)
        return ml.Task(ml.Batch(x, x), ml.Batch(x, x))


def test_large_seeds_and_tasks_in_numpy(learner):
    """A seed may be any number of 32 bits, and a source may return arrays; the losses are NumPy's."""
    meta = learner.initialize(0)
    found = ml.evaluate(learner, meta, Fixed(), num_tasks=2, steps=0, seed=2**32 - 1)
    x = Fixed().sample(None, 2).query.inputs
    outputs = learner.predict(learner.adapt(meta, ml.Batch(x, x), steps=0), x)
    np.testing.assert_allclose(found.per_task[:, 0], np.square(outputs - x).mean((1, 2)), rtol=1e-5)


def test_meta_parameters_of_another_learner_are_refused(learner):
    wider = ml.MetaLearner(ml.models.mlp(hidden=(7,)), ml.losses.mse, ml.rules.sgd(0.01))
    with pytest.raises(ValueError, match=r"meta (has|does not have) .*hidden_0"):
        ml.evaluate(learner, wider.initialize(0), ml.tasks.Sinusoid(), num_tasks=2)

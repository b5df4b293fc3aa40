"""The learner of any bilevel problem: training, evaluation, and errors with remedies."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

OUTER_RATE, INNER_RATE, STEPS = 0.5, 0.2, 3


class Given:
    """A source of fixed tasks for every seed."""

    constant = True

    def __init__(self, draw):
        self._draw = draw

    def sample(self, seed, tasks):
        """Return the first of ``draw(tasks)``."""
        return tf.nest.map_structure(lambda leaf: leaf[:tasks], self._draw(tasks))


def shrinking(**options):
    """Return ``theta <- theta - rate phi theta`` from 1, outer ``(theta - 1/2)^2 / 2``; without data."""
    return ml.BilevelProblem(
        start=lambda phi, task: {"t": tf.ones([], tf.float64)},
        inner_loss=lambda theta, phi, batch, model: phi * tf.square(theta["t"]) / 2,
        outer_loss=lambda theta, phi, task, model: (
            tf.square(theta["t"] - 0.5) / 2,
            {"shrunk": theta["t"]},
        ),
        rule=ml.rules.sgd(INNER_RATE),
        steps=STEPS,
        **options,
    )


def test_problems_without_data():
    """A problem without data, whose phi is a single tensor, is trained and evaluated as in NumPy."""
    learner = ml.BilevelLearner(shrinking(), start=tf.constant(0.4, tf.float64))
    source = Given(lambda tasks: ml.Task((), ()))
    trainer = ml.MetaTrainer(learner, source, keras.optimizers.SGD(OUTER_RATE), 1, jit_compile=False)
    history, phi, thetas = trainer.run(5), 0.4, []
    for _ in range(5):
        shrink = 1 - INNER_RATE * phi
        thetas.append(shrink**STEPS)
        phi += OUTER_RATE * (thetas[-1] - 0.5) * STEPS * shrink ** (STEPS - 1) * INNER_RATE
    np.testing.assert_allclose(trainer.meta, phi, rtol=1e-12)
    np.testing.assert_allclose(history["outer/loss"], (np.array(thetas) - 0.5) ** 2 / 2, rtol=1e-6)
    np.testing.assert_allclose(history["outer/shrunk"], thetas, rtol=1e-6)
    assert trainer.state()["meta/"] == trainer.meta

    report = ml.evaluate(learner, trainer.meta, source, num_tasks=1, steps=4)
    path = (1 - INNER_RATE * phi) ** np.arange(5)
    np.testing.assert_allclose(report.mean, (path - 0.5) ** 2 / 2, rtol=1e-12)
    np.testing.assert_allclose(report.metrics["shrunk"].mean, path, rtol=1e-12)
    assert np.isnan(report.ci95).all()


def nested_tasks(count):
    """Return tasks of nests: numbers to look up, and tuples in dicts."""
    random = np.random.default_rng(2)
    support = {"rows": tf.constant(random.integers(4, size=(count, 2))), "more": (tf.ones((count, 1)),)}
    return ml.Task(support, [tf.constant(random.normal(size=(count, 3)))])


def looked_up(options=None):
    """Return a problem about rows of a table that is learned: theta goes to their mean."""

    def inner_loss(theta, phi, batch, model):
        rows = tf.gather(phi["table"], batch["rows"])
        return tf.reduce_mean(tf.reduce_sum(tf.square(theta["t"] - rows), -1)) / 2

    def outer_loss(theta, phi, task, model):
        errors = theta["t"] - task.query[0]
        return tf.reduce_sum(tf.square(errors)) / 2, {"largest": tf.reduce_max(tf.abs(errors))}

    return ml.BilevelProblem(
        start=lambda phi, task: {"t": phi["start"][0]},
        inner_loss=inner_loss,
        outer_loss=outer_loss,
        rule=ml.rules.sgd(INNER_RATE),
        steps=STEPS,
        **(options or {}),
    )


@pytest.mark.parametrize("mapping", ["vectorized", "sequential"])
def test_nests_of_any_kind(mapping):
    """With integers in tasks and tuples in phi, gradient, metrics and evaluation equal NumPy's to 1e-12.

    ``theta_K = s^K theta_0 + (1 - s^K) mean(rows)``, s = 1 - rate.
    """
    random = np.random.default_rng(0)
    phi = {"table": random.normal(size=(4, 3)), "start": (random.normal(size=3),)}
    learner = ml.BilevelLearner(
        looked_up({"mapping": mapping}), start=lambda seed: tf.nest.map_structure(tf.constant, phi)
    )
    trainer = ml.MetaTrainer(
        learner, Given(nested_tasks), keras.optimizers.SGD(OUTER_RATE), 2, jit_compile=False
    )
    tasks = trainer.training_tasks(0)
    history = trainer.run(1)
    shrink = (1 - INNER_RATE) ** STEPS
    table, start, losses, largest = np.zeros((4, 3)), np.zeros(3), [], []
    for rows, query in zip(tasks.support["rows"].numpy(), tasks.query[0].numpy(), strict=True):
        errors = shrink * phi["start"][0] + (1 - shrink) * phi["table"][rows].mean(0) - query
        start += shrink * errors / 2
        for row in rows:
            table[row] += (1 - shrink) * errors / 2 / 2
        losses.append(np.sum(errors**2) / 2)
        largest.append(np.abs(errors).max())
    moved = {"table": phi["table"] - OUTER_RATE * table, "start": (phi["start"][0] - OUTER_RATE * start,)}
    tf.nest.map_structure(
        lambda found, expected: np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12),
        trainer.meta,
        moved,
    )
    np.testing.assert_allclose(history["outer/loss"], [np.mean(losses)], rtol=1e-6)
    np.testing.assert_allclose(history["outer/largest"], [np.mean(largest)], rtol=1e-6)

    meta = learner.initialize(0)
    result = learner.meta_gradient(meta, tasks)
    np.testing.assert_allclose(result.metrics["largest"], largest, rtol=1e-12)
    report = ml.evaluate(learner, meta, Given(lambda count: tasks), num_tasks=2, steps=STEPS)
    np.testing.assert_allclose(report.per_task[:, -1], losses, rtol=1e-12)
    curve = report.metrics["largest"]
    np.testing.assert_allclose(curve.per_task[:, -1], largest, rtol=1e-12)
    np.testing.assert_allclose(curve.mean[-1], np.mean(largest), rtol=1e-12)
    deviation = np.std(largest, ddof=1)
    np.testing.assert_allclose(curve.ci95[-1], 1.96 * deviation / np.sqrt(2), rtol=1e-12)


def test_residuals_are_in_the_history():
    """The residual of implicit differentiation in the history is ``|phi theta|`` at theta_K, to 1e-6."""
    learner = ml.BilevelLearner(shrinking(), ml.estimators.implicit(), tf.constant(0.4, tf.float64))
    source = Given(lambda tasks: ml.Task((), ()))
    trainer = ml.MetaTrainer(learner, source, keras.optimizers.SGD(1e-9), 1, jit_compile=False)
    history = trainer.run(1)
    expected = 0.4 * (1 - INNER_RATE * 0.4) ** STEPS
    np.testing.assert_allclose(history["residual/stationarity"], [expected], rtol=1e-6)
    assert history["residual/solver"][0] < 1e-6
    assert history["residual/negative_curvature"][0] == 0


def vector(theta):
    """Return three losses instead of one."""
    return tf.stack([theta["t"]] * 3)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"inner_loss": lambda theta, phi, batch, model: vector(theta)}, "inner_loss"),
        ({"inner_loss": lambda theta, phi, batch, model: (vector(theta), model)}, "inner_loss"),
        ({"outer_loss": lambda theta, phi, task, model: vector(theta)}, "outer_loss"),
        (
            {"outer_loss": lambda theta, phi, task, model: (theta["t"], {"spread": vector(theta)})},
            "the metric 'spread'",
        ),
    ],
    ids=["inner", "inner with a state", "outer", "metric"],
)
def test_losses_and_metrics_that_are_no_scalars_are_refused(options, named):
    """Estimators, trainer and evaluation reject a loss or metric that is not a scalar, and name it."""
    problem = ml.BilevelProblem(
        **{
            "start": lambda phi, task: {"t": phi},
            "inner_loss": lambda theta, phi, batch, model: tf.square(theta["t"]),
            "outer_loss": lambda theta, phi, task, model: theta["t"],
            "rule": ml.rules.sgd(0.1),
            "steps": 1,
            **options,
        }
    )
    source, start = Given(lambda tasks: ml.Task((), ())), tf.constant(0.5, tf.float64)
    learner = ml.BilevelLearner(problem, start=start)
    for call in (
        lambda: ml.estimators.checkpointed()(problem, start, ml.Task((), ())),
        lambda: ml.estimators.unrolled()(problem, start, ml.Task((), ())),
        lambda: ml.MetaTrainer(learner, source, keras.optimizers.SGD(0.1), 1),
        lambda: ml.evaluate(learner, start, source, num_tasks=1),
    ):
        with pytest.raises(ValueError, match=rf"{named} has to be a scalar .* shape \(3,\): reduce it"):
            call()


def test_tasks_that_disagree_on_their_number_are_refused():
    """The message names two leaves and their numbers of tasks."""
    tasks = ml.Task(tf.zeros((2, 3)), (tf.zeros((3, 1)),))
    learner = ml.BilevelLearner(shrinking(), start=tf.constant(0.4, tf.float64))
    with pytest.raises(ValueError, match="support has 2 and query/0 has 3"):
        learner.require_fit(tasks)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({}, "start has no tensors, so there is nothing to learn"),
        ({"a": tf.constant(1)}, "start has a leaf of type int32"),
    ],
)
def test_a_phi_that_cannot_be_learned_is_refused(start, message):
    with pytest.raises(ValueError, match=message):
        ml.BilevelLearner(shrinking(), start=start)


def test_what_is_no_problem_or_no_estimator_is_refused():
    """The message names the value and the remedy."""
    with pytest.raises(ValueError, match=r"metalearn\.BilevelProblem or have its methods, but 3 has"):
        ml.BilevelLearner(3, start=tf.constant(1.0))
    with pytest.raises(ValueError, match=r"estimator must be an estimator like .*checkpointed\(\), got"):
        ml.BilevelLearner(shrinking(), len, tf.constant(1.0))


def test_a_keras_learner_reports_metrics(sinusoids, in_graph):
    """Metrics of the query equal those of ``predict``, in the meta-gradient and in an evaluation."""

    def bias(targets, outputs):
        return tf.reduce_mean(outputs - targets)

    model = ml.models.mlp(hidden=(4,), dtype="float64")
    learner = ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.1), 2, metrics=(bias,))
    meta = learner.initialize(0)
    result = in_graph(learner.meta_gradient)(meta, sinusoids)
    outputs = learner.predict(learner.adapt(meta, sinusoids.support), sinusoids.query.inputs)
    expected = np.mean(outputs - sinusoids.query.targets, axis=(1, 2))
    np.testing.assert_allclose(result.metrics["bias"], expected, rtol=1e-10)
    report = ml.evaluate(learner, meta, Given(lambda count: sinusoids), num_tasks=3, steps=2)
    np.testing.assert_allclose(report.metrics["bias"].per_task[:, -1], expected, rtol=1e-10)

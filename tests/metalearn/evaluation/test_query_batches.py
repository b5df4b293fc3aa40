"""Queries in batches, compared with loops over batches in NumPy and by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.evaluation.query_batches import batched

WAYS, QUERIES, TASKS = 3, 4, 3


def drawn(seed, tasks):
    """Draw classes of two numbers each, and labels in no order."""
    rng = np.random.default_rng([*seed])
    support = np.tile(np.arange(WAYS), 2)
    query = np.stack([rng.permutation(np.repeat(np.arange(WAYS), QUERIES)) for _ in range(tasks)])
    centres = 2 * rng.normal(size=(tasks, WAYS, 2))

    def batch(labels):
        labels = np.broadcast_to(labels, (tasks, labels.shape[-1])).astype(np.int32)
        inputs = np.take_along_axis(centres, labels[..., None], 1)
        return inputs + rng.normal(size=inputs.shape), labels

    return batch(support), batch(query)


@pytest.fixture(scope="module")
def source():
    return ml.tasks.from_function(drawn, dtype="float64")


def learner_of(statistics, **options):
    double = {"dtype": "float64"}
    layers = [
        keras.layers.Dense(4, "tanh", name="hidden", **double),
        ml.layers.BatchNormalization(name="norm", **double),
        ml.layers.Dense(WAYS, name="output", **double),
    ]
    return ml.MetaLearner(
        keras.Sequential([keras.Input((2,), **double), *layers]),
        "cross_entropy",
        ml.rules.sgd(0.3),
        statistics=statistics,
        metrics=[ml.metrics.accuracy],
        **options,
    )


def answered(predict, fitted, task, batches):
    """Return loss and accuracy of an adapted task, each batch of queries answered by itself."""
    losses, hits = [], []
    for places in batches:
        inputs, targets = (tf.gather(each, places, axis=1) for each in task.query)
        outputs = predict(fitted, inputs)[0]
        losses.append(ml.losses.cross_entropy(targets[0], outputs))
        hits.append(ml.metrics.accuracy(targets[0], outputs))
    return np.mean(losses), np.mean(hits)


@pytest.mark.parametrize("mapping", ["vectorized", pytest.param("sequential", marks=pytest.mark.slow)])
def test_an_evaluation_is_that_of_a_loop_over_batches(source, in_graph, mapping):
    """Losses with batches of queries equal those of a loop over batches, to 1e-10.

    Batch statistics make them depend on the batches, which are all queries, one class or one query.
    """
    learner = learner_of("batch", mapping=mapping)
    meta, tasks = learner.initialize(0), source.sample((1, -1), TASKS)
    labels = tasks.query.targets.numpy()
    places = {
        "all": lambda index: [np.arange(WAYS * QUERIES)],
        "class": lambda index: [np.flatnonzero(labels[index] == way) for way in range(WAYS)],
        1: lambda index: np.arange(WAYS * QUERIES)[:, None],
    }
    ones = [tf.nest.map_structure(lambda leaf, at=at: leaf[at : at + 1], tasks) for at in range(TASKS)]
    fitted = [learner.adapt(meta, one.support, 1) for one in ones]
    predict, found = in_graph(learner.predict), {}
    for at_once, chosen in places.items():
        report = ml.evaluate(learner, meta, source, TASKS, steps=1, seed=1, queries_at_once=at_once)
        assert report.queries_at_once == at_once
        expected = [answered(predict, fitted[at], ones[at], chosen(at)) for at in range(TASKS)]
        np.testing.assert_allclose(report.per_task[:, 1], [loss for loss, _ in expected], rtol=1e-10)
        np.testing.assert_allclose(
            report.metrics["accuracy"].per_task[:, 1], [hits for _, hits in expected], rtol=1e-10
        )
        found[at_once] = report
    assert len({report.tasks_hash for report in found.values()}) == 1
    assert np.abs(found["all"].mean - found["class"].mean).min() > 1e-3
    assert np.abs(found["all"].mean - found[1].mean).min() > 1e-3


@pytest.mark.slow
def test_answers_that_do_not_depend_on_each_other_are_the_same(source):
    """With the support's statistics, batches of queries do not change losses, to 1e-12."""
    learner = learner_of("support")
    meta = learner.initialize(0)
    whole, apart = (
        ml.evaluate(learner, meta, source, TASKS, steps=1, queries_at_once=at_once) for at_once in ("all", 6)
    )
    np.testing.assert_allclose(apart.per_task, whole.per_task, rtol=1e-12)


def test_batches_by_chance(source):
    """Every query occurs once, with its target, in a random order that depends on task and seed."""
    tasks = source.sample((0, 0), 50)
    found, again, other = (batched(tasks, 3, (0, seed)).query for seed in (0, 0, 1))
    assert found.inputs.shape == (50, 4, 3, 2)
    assert found.targets.shape == (50, 4, 3)
    np.testing.assert_array_equal(found.targets, again.targets)
    assert np.any(found.targets != other.targets)
    for index in range(50):
        flat = [np.reshape(leaf[index], (12, -1)) for leaf in found]
        before = [np.reshape(leaf[index], (12, -1)) for leaf in tasks.query]
        rows = np.hstack(flat), np.hstack(before)
        assert sorted(map(tuple, rows[0])) == sorted(map(tuple, rows[1]))
    classes = [len(set(batch.tolist())) for of_task in found.targets.numpy() for batch in of_task]
    assert set(classes) == {1, 2, 3}


def test_what_makes_no_batches_is_refused_before_anything_is_evaluated(source, sinusoids):
    learner = learner_of("batch")
    for wrong, said in {
        5: "queries_at_once=5 does not divide the 12 queries of a task: choose a divisor",
        0: "queries_at_once must be an integer of at least 1",
        "classes": "queries_at_once must be one of all, class or a number, got 'classes'",
    }.items():
        with pytest.raises(ValueError, match=said):
            ml.evaluator(learner, source, TASKS, queries_at_once=wrong)
    with pytest.raises(ValueError, match=r"'class' needs classes as targets"):
        batched(sinusoids, "class", (0, 0))
    uneven = ml.Batch(tf.zeros([1, 3, 2]), tf.constant([[0, 1, 1]]))
    with pytest.raises(ValueError, match=r"the same number of queries of each class, got \[1, 2\]"):
        batched(ml.Task(uneven, uneven), "class", (0, 0))

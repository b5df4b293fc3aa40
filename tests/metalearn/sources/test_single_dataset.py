"""One data set as a source: the whole of it, and mini-batches."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.sources import check_sampler, dataset
from metalearn.testing import check_source

X, Y = np.arange(12.0).reshape(6, 2), np.arange(6)
VALIDATION = (np.ones((3, 2)), np.arange(3))


def test_the_whole_data_set_is_one_task():
    source = dataset({"support": (X, Y), "query": VALIDATION})
    assert source.constant is True
    for seed in ((0, 0), (7, -1), tf.constant([1, 2])):
        task = source.sample(seed, 1)
        np.testing.assert_array_equal(task.support.inputs, X[None])
        np.testing.assert_array_equal(task.support.targets, Y[None])
        np.testing.assert_array_equal(task.query.inputs, VALIDATION[0][None])
        assert task.support.inputs.dtype == tf.float32
        assert task.support.targets.dtype == tf.int64


def test_a_pair_is_support_and_query_without_a_second_copy():
    source = dataset((X, Y))
    assert source.query is source.support
    task = source.sample((0, 0), 1)
    tf.nest.map_structure(np.testing.assert_array_equal, tuple(task.support), tuple(task.query))
    graph = tf.function(lambda seed: dataset_sum(source, seed), autograph=False)
    assert float(graph(tf.constant([0, 0]))) == X.sum()


def dataset_sum(source, seed):
    return tf.reduce_sum(source.sample(seed, 1).query.inputs)


def test_a_task_and_a_type():
    task = ml.Task(support=ml.Batch(X, Y), query=ml.Batch(*VALIDATION))
    assert dataset(task, dtype="float64").sample((0, 0), 1).support.inputs.dtype == tf.float64


def test_mini_batches_are_different_examples_uniformly_drawn():
    """Mini-batches have different examples with uniform frequencies, for support and query independently."""
    source, tasks = dataset((X, Y), batch=3), 4000
    assert source.constant is False
    task = source.sample((0, 3), tasks)
    assert task.support.inputs.shape == (tasks, 3, 2)
    for batch in (task.support, task.query):
        rows = batch.targets.numpy()
        np.testing.assert_array_equal(batch.inputs, X[rows])
        assert all(len(set(row)) == 3 for row in rows)
        for number in range(6):
            share = np.mean((rows == number).any(1))
            assert abs(share - 0.5) < 4 * np.sqrt(0.25 / tasks)
    same = np.mean((np.sort(task.support.targets, 1) == np.sort(task.query.targets, 1)).all(1))
    assert abs(same - 1 / 20) < 4 * np.sqrt(0.0475 / tasks)


def test_conformance():
    for source in (dataset((X, Y)), dataset((X, Y), batch=2)):
        check_source(source)
        check_sampler(source)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arrays": (X, Y[:5])}, r"the support of the data set: .*\{'inputs': 6, 'targets': 5\}"),
        (
            {"arrays": {"support": (X, Y), "query": (X * np.nan, Y)}},
            "the query of the data set: inputs has NaN",
        ),
        (
            {"arrays": {"support": (X, Y), "query": VALIDATION}, "batch": 4},
            "more than the 3 examples of the query",
        ),
        ({"arrays": (X, Y), "batch": 0}, "batch must be an integer of at least 1"),
        ({"arrays": {"train": (X, Y)}}, "the argument of dataset has to return"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        dataset(**arguments)


def test_more_tasks_than_one_are_refused():
    with pytest.raises(ValueError, match=r"one task, but 25 were requested: set meta_batch_size=1.*batch="):
        dataset((X, Y)).sample((0, 0), 25)

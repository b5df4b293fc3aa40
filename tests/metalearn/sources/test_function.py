"""Python samplers outside the graph: purity, checks, and prefetching."""

import itertools
import threading

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.sources import check_sampler, from_function, prefetched, spec, task_bytes
from metalearn.testing import check_source


def lines(seed, tasks):
    """Draw ``y = a x`` in NumPy, a pure function of the seed."""
    rng = np.random.default_rng([*seed])
    slope, x = rng.normal(size=(tasks, 1, 1)), rng.normal(size=(tasks, 5, 1))
    return (x[:, :2], slope * x[:, :2]), (x[:, 2:], slope * x[:, 2:])


def test_a_sampler_in_numpy_is_a_source():
    source = from_function(lines)
    task = source.sample((3, 4), 6)
    expected = lines((3, 4), 6)
    assert isinstance(task, ml.Task)
    for batch, pair in zip((task.support, task.query), expected, strict=True):
        np.testing.assert_array_equal(batch.inputs, pair[0].astype(np.float32))
        np.testing.assert_array_equal(batch.targets, pair[1].astype(np.float32))
    assert source.in_graph is False
    assert spec(source, 7).query.inputs == tf.TensorSpec([7, 3, 1])
    assert task_bytes(source) == 4 * 10
    check_source(source)
    assert from_function(lines) == source
    assert repr(source).startswith("Function(function=<function lines")


@pytest.mark.parametrize(
    ("seed", "given"),
    [((3, -1), (3, 2**32 - 1)), (tf.constant([3, 4]), (3, 4)), (np.array([0, 5]), (0, 5))],
)
def test_seeds_are_integers_that_numpy_takes(seed, given):
    seen = []

    def recording(seed, tasks):
        seen.append(seed)
        return lines(seed, tasks)

    from_function(recording).sample(seed, 1)
    assert seen[-1] == given
    assert all(type(number) is int for number in seen[-1])


def test_types_and_returned_forms():
    def classes(seed, tasks):
        (x, _), query = lines(seed, tasks)
        return ml.Task(support=ml.Batch(x, np.zeros((tasks, 2), np.int64)), query={"all": query[0]})

    task = from_function(classes, dtype="float64").sample((0, 0), 2)
    assert task.support.inputs.dtype == tf.float64
    assert task.support.targets.dtype == tf.int64
    assert task.query["all"].shape == (2, 3, 1)
    mapping = from_function(lambda seed, tasks: dict(zip(PARTS, lines(seed, tasks), strict=True)))
    expected = from_function(lines).sample((0, 1), 2)
    tf.nest.map_structure(np.testing.assert_array_equal, mapping.sample((0, 1), 2), expected)


PARTS = ("support", "query")
GENERATOR = np.random.default_rng(0)


def impure(seed, tasks):
    return lines(tuple(GENERATOR.integers(0, 100, 2)), tasks)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (impure, "impure draws other tasks when it is called again with the same seed"),
        (lambda seed, tasks: lines((0, 0), tasks), "for every second number of the seed"),
        (lambda seed, tasks: lines(seed, 1), "for 3 tasks: every array needs the leading axis"),
        (lambda seed, tasks: lines(seed, tasks)[0][0], "has to return ml.Task.*but returned ndarray"),
        (3, r"takes a function sample\(seed, tasks\), got int"),
    ],
)
def test_samplers_that_are_not_pure_are_refused(sample, message):
    with pytest.raises(ValueError, match=message):
        from_function(sample)


def test_it_is_not_called_in_a_graph():
    source = from_function(lines)
    with pytest.raises(ValueError, match="lines runs Python, which a graph would call only once"):
        tf.function(lambda seed: source.sample(seed, 2))(tf.constant([0, 0]))
    check_sampler(source)


def test_shapes_that_change_are_named():
    def changing(seed, tasks):
        (x, y), query = lines(seed, tasks)
        return (x, y[:, : 1 if seed[1] == 9 else 2]), query

    source = from_function(changing)
    with pytest.raises(
        ValueError,
        match=r"drew float32 \(2, 1, 1\) at support/targets, but its first tasks had float32 \(2, 2, 1\)",
    ):
        source.sample((0, 9), 2)


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_drawing_ahead_changes_nothing(ahead):
    """Prefetched tasks are the same and in the same order, for finite and infinite lists of seeds."""
    source, seeds = from_function(lines), [(0, iteration) for iteration in range(6)]
    for given in (seeds, ((0, iteration) for iteration in itertools.count())):
        drawn = prefetched(source, given, 2, ahead=ahead)
        for seed, task in zip(seeds, drawn, strict=False):
            tf.nest.map_structure(np.testing.assert_array_equal, task, source.sample(seed, 2))
        drawn.close()
    assert list(prefetched(source, [], 2)) == []
    np.testing.assert_array_equal(
        next(prefetched(ml.tasks.Sinusoid(), seeds, 2)).query.inputs,
        ml.tasks.Sinusoid().sample((0, 0), 2).query.inputs,
    )


def test_draws_are_made_ahead_by_one_thread():
    """When the first task is requested, one thread prefetches the next two, one after the other."""
    third, busy, threads = threading.Event(), threading.Lock(), set()

    class Recording:
        prefetch = 2

        def sample(self, seed, tasks):
            assert busy.acquire(blocking=False)
            threads.add(threading.current_thread())
            if seed == (0, 2):
                third.set()
            busy.release()
            return seed

    drawn = prefetched(Recording(), ((0, iteration) for iteration in range(100)), 1)
    assert next(drawn) == (0, 0)
    assert third.wait(timeout=30)
    assert threading.current_thread() not in threads
    assert list(drawn) == [(0, iteration) for iteration in range(1, 100)]
    assert len(threads) == 1


def test_errors_come_where_the_tasks_would_have_come():
    class Failing:
        def sample(self, seed, tasks):
            return seed if seed[1] < 2 else 1 / 0

    drawn = prefetched(Failing(), [(0, 0), (0, 1), (0, 2), (0, 3)], 1)
    assert [next(drawn), next(drawn)] == [(0, 0), (0, 1)]
    with pytest.raises(ZeroDivisionError):
        next(drawn)
    with pytest.raises(ValueError, match="ahead must be an integer of at least 0"):
        prefetched(Failing(), [], 1, ahead=-1)

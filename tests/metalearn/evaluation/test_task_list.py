"""Lists of evaluation tasks: one draw if they are small, and never more than a block in memory."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.evaluation import task_list
from metalearn.evaluation.task_list import TaskList
from tests.often import mostly_slow

MIB = 2**20


class Images:
    """Tasks of a size that only their specification has; all draws are recorded."""

    in_graph = False

    def __init__(self, size):
        self.size, self.draws = size, []

    def spec(self, tasks):
        part = ml.Batch(tf.TensorSpec((tasks, self.size), tf.uint8), tf.TensorSpec((tasks, 0)))
        return ml.Task(part, ml.Batch(part.targets, part.targets))

    def sample(self, seed, tasks):
        self.draws.append((seed, tasks))
        empty = tf.zeros((tasks, 0))
        # What is drawn need not be as large as it is said to be: numbers of the tasks are enough.
        return ml.Task(ml.Batch(tf.range(tasks)[:, None], empty), ml.Batch(empty, empty))


def test_a_list_that_fits_into_64_mb_is_one_draw():
    source = Images(MIB)
    tasks = TaskList(source, 64, seed=3)
    chunks = list(tasks.chunks())
    assert source.draws == [((3, -1), 64)]
    assert [(first, chunk.support.inputs.shape[0]) for first, chunk in chunks] == [(0, 64)]
    assert list(tasks.chunks())
    assert len(source.draws) == 1


def test_of_a_longer_list_64_mb_are_drawn_at_a_time():
    """A long list is drawn in blocks of 64 MB, each when it is needed; block b has the seed (3, -1 - b)."""
    source = Images(MIB)
    tasks = TaskList(source, 150, seed=3)
    assert not source.draws
    found = []
    for drawn, (first, chunk) in enumerate(tasks.chunks(), 1):
        assert len(source.draws) == drawn
        found.append((first, chunk.support.inputs.shape[0]))
    assert source.draws == [((3, -1), 64), ((3, -2), 64), ((3, -3), 22)]
    assert found == [(0, 64), (64, 64), (128, 22)]


def test_blocks_of_small_tasks_are_whole_chunks():
    """Blocks of small tasks are multiples of 1000 tasks, so that all chunks but the last have 1000.

    64 MB hold 4473 tasks of 15 kB, so blocks have 4000.
    """
    source = Images(15_000)
    found = [(first, chunk.support.inputs.shape[0]) for first, chunk in TaskList(source, 9500, 0).chunks()]
    assert [count for _, count in source.draws] == [4000, 4000, 1500]
    assert [first for first, _ in found] == list(range(0, 9500, 1000))
    assert [count for _, count in found] == [1000] * 9 + [500]


def test_tasks_larger_than_a_block_come_one_by_one():
    source = Images(70 * MIB)
    assert [first for first, _ in TaskList(source, 3, 0).chunks()] == [0, 1, 2]
    assert [count for _, count in source.draws] == [1, 1, 1]


def test_the_digest_is_of_all_blocks(monkeypatch):
    """The digest is the hash of types, shapes and bytes of all leaves, block by block."""
    source = ml.tasks.Sinusoid(shots=2, queries=3)

    def expected(*draws):
        digest = hashlib.sha256()
        for seed, count in draws:
            for leaf in tf.nest.flatten(source.sample(seed, count)[:2]):
                digest.update(f"{leaf.dtype.name}{leaf.shape}".encode() + leaf.numpy().tobytes())
        return digest.hexdigest()[:16]

    whole = TaskList(source, 5, 1)
    assert [first for first, _ in whole.chunks()] == [0]
    assert whole.digest == expected(((1, -1), 5))
    monkeypatch.setattr(task_list, "BLOCK_BYTES", 2 * 4 * (2 + 2 + 3 + 3 + 2))
    parts = TaskList(source, 5, 1)
    chunks = [chunk for _, chunk in parts.chunks()]
    assert parts.digest == expected(((1, -1), 2), ((1, -2), 2), ((1, -3), 1))
    second = source.sample((1, -2), 2)
    np.testing.assert_array_equal(chunks[1].query.targets, second.query.targets)
    assert not np.intersect1d(chunks[0].support.inputs, chunks[1].support.inputs).size


@pytest.mark.parametrize("make", mostly_slow(["arrays", "mini-batches"], "mini-batches"))
def test_the_digest_of_a_long_list_from_arrays_is_of_arrays_and_indices(monkeypatch, make):
    """Seed, count and arrays change the digest of a long list from arrays, without hashing the tasks."""
    x = np.arange(40, dtype=np.float32).reshape(20, 2)

    def digest(x=x, y=x[:, :1], seed=1, count=4, block=64):
        monkeypatch.setattr(task_list, "BLOCK_BYTES", block)
        if make == "arrays":
            source = ml.tasks.from_arrays([(x, y), (x + 100, y)], shots=2, queries=3)
        else:
            source = ml.tasks.dataset({"support": (x, y), "query": (x + 100, y)}, batch=3)
        tasks = TaskList(source, count, seed)
        assert [first for first, _ in tasks.chunks()] == (list(range(count)) if block == 64 else [0])
        return tasks.digest

    other = x.copy()
    other[7, 1] += 1
    found = [digest(), digest(other), digest(y=other[:, :1] + x[:, 1:]), digest(seed=2), digest(count=5)]
    assert len({*found, digest(block=MIB)}) == 6
    assert digest() == found[0]
    monkeypatch.setattr(task_list, "hash_leaves", None)
    assert digest() == found[0]


def test_one_data_set_is_never_drawn_in_parts(monkeypatch):
    """A single data set is one task, drawn in one block; a list of several such tasks is an error."""
    monkeypatch.setattr(task_list, "BLOCK_BYTES", 8)
    source = ml.tasks.dataset((np.ones((4, 1)), np.ones((4, 1))))
    (first, chunk), *more = TaskList(source, 1, 0).chunks()
    assert (first, more, chunk.support.inputs.shape) == (0, [], (1, 4, 1))
    with pytest.raises(ValueError, match=r"one data set is one task, but 2 were requested"):
        TaskList(source, 2, 0)


def test_an_evaluation_in_blocks_is_that_of_its_tasks(monkeypatch):
    """Losses of an evaluation in blocks equal those of each block's tasks, for two sets of parameters."""
    learner = ml.MetaLearner(ml.models.mlp(hidden=()), "mse", ml.rules.sgd(0.1))
    source = ml.tasks.Sinusoid(shots=2, queries=3)
    monkeypatch.setattr(task_list, "BLOCK_BYTES", 2 * 4 * (2 + 2 + 3 + 3 + 2))
    evaluate = ml.evaluator(learner, source, num_tasks=5, steps=1, seed=1)
    for seed in (0, 1):
        meta = learner.initialize(seed)
        report, losses = evaluate(meta), []
        for block, count in ((-1, 2), (-2, 2), (-3, 1)):
            drawn = source.sample((1, block), count)
            outputs = learner.predict(learner.adapt(meta, drawn.support), drawn.query.inputs)
            losses += [*np.mean(np.square(outputs - drawn.query.targets), (1, 2))]
        np.testing.assert_allclose(report.per_task[:, 1], losses, rtol=1e-5)

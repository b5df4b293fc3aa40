"""Blocks of tasks: how many iterations they hold follows from the size that a source specifies."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.sources.images import few_shot
from metalearn.training.blocks import Blocks
from metalearn.training.workers import Workers

MIB = 2**20


class Images:
    """Tasks of a size that only their specification has; all draws are recorded."""

    in_graph, prefetch = False, 0

    def __init__(self, size, constant=False):
        self.size, self.constant, self.draws = size, constant, []

    def spec(self, tasks):
        return ml.Task(tf.TensorSpec((tasks, self.size), tf.uint8), ())

    def sample(self, seed, tasks):
        self.draws.append(tasks)
        # What is drawn need not be as large as it is said to be.
        first, second = (0, 0) if self.constant else seed
        return ml.Task(tf.constant(np.full((tasks, 2), 100 * first + second) + np.arange(tasks)[:, None]), ())


@pytest.mark.parametrize(
    ("size", "tasks", "length"),
    [(MIB, 4, 16), (MIB, 5, 12), (MIB, 64, 1), (100 * MIB, 2, 1), (1000, 4, 250), (100_000, 10, 67)],
)
def test_iterations_of_a_block_are_those_that_64_mb_hold(size, tasks, length):
    """A block has as many iterations as 64 MB hold, from 1 to 250, which is known before it is drawn."""
    source = Images(size)
    blocks = Blocks(source, tasks, seed=3, workers=Workers())
    assert blocks.length == blocks.stored == length
    assert max(source.draws) <= 3
    source.draws.clear()
    blocks.of(0)
    blocks.at(length - 1)
    assert source.draws == [length * tasks]
    found = blocks.at(length)
    assert source.draws == [length * tasks] * 2
    np.testing.assert_array_equal(found.support[:, 0], 301 + np.arange(tasks))


def test_a_constant_source_is_drawn_once_and_holds_one_iteration():
    source = Images(100 * MIB, constant=True)
    blocks = Blocks(source, 1, seed=3, workers=Workers())
    source.draws.clear()
    for iteration in (0, 249, 250, 700):
        assert blocks.at(iteration).support.shape == (1, 2)
    assert (source.draws, blocks.length, blocks.stored) == ([1], 250, 1)


def characters():
    """Return a source of images that uses all kinds of random numbers it has."""
    images = np.random.default_rng(0).integers(0, 255, (5, 4, 6, 6, 1)).astype(np.uint8)
    return ml.tasks.FewShot(images, 2, 1, 2, rotations=True, reflections=True, distortion=0.1)


def numbers():
    """Return a source outside of the graph."""
    return ml.tasks.from_function(
        lambda seed, tasks: 2 * (np.random.default_rng([*seed]).normal(size=(tasks, 1)),)
    )


@pytest.mark.parametrize("make", [characters, numbers, ml.tasks.Sinusoid])
def test_each_worker_has_its_share_of_every_iteration(make):
    """Workers have equal parts of each meta-batch; the tasks of an iteration are those of all workers."""
    whole = Blocks(make(), 6, seed=3, workers=Workers())
    for index in range(3):
        blocks = Blocks(make(), 6, seed=3, workers=Workers(index, 3))
        for one, all_tasks in zip(*map(tf.nest.flatten, (blocks.of(1), whole.of(1))), strict=True):
            np.testing.assert_array_equal(one, all_tasks[:, 2 * index : 2 * index + 2])
        tf.nest.map_structure(np.testing.assert_array_equal, blocks.at(7), whole.at(7))
        copies = tf.nest.flatten(blocks.copies())
        assert all(leaf.shape[:2] == (blocks.stored, 2) for leaf in copies)
        tf.nest.map_structure(
            lambda leaf: np.testing.assert_array_equal(leaf, leaf[:1, :1] + 0 * leaf), copies
        )


def test_a_worker_transforms_its_own_images_only(monkeypatch):
    """The images of other workers' tasks are not turned, mirrored or distorted."""
    shapes = []
    original = few_shot.distorted
    monkeypatch.setattr(
        few_shot, "distorted", lambda images, *rest: shapes.append(images.shape[0]) or original(images, *rest)
    )
    blocks = Blocks(characters(), 6, seed=3, workers=Workers(1, 3))
    shapes.clear()
    blocks.of(0)
    assert shapes == [2 * blocks.stored]


def test_tasks_in_numpy_become_tensors():
    """A source outside the graph may return arrays."""
    source = Images(2)
    source.sample = lambda seed, tasks: ml.Task(np.full((tasks, 2), [seed]), ())
    blocks = Blocks(source, 4, seed=3, workers=Workers())
    for task in (blocks.one(), blocks.at(0)):
        assert tf.is_tensor(task.support)
        np.testing.assert_array_equal(task.support[0], [3, 0])

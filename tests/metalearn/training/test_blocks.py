"""Blocks of tasks: how many iterations they hold follows from the size that a source specifies."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.training.blocks import Blocks

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
    blocks = Blocks(source, tasks, seed=3)
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
    blocks = Blocks(source, 1, seed=3)
    source.draws.clear()
    for iteration in (0, 249, 250, 700):
        assert blocks.at(iteration).support.shape == (1, 2)
    assert (source.draws, blocks.length, blocks.stored) == ([1], 250, 1)

"""Tasks of many iterations drawn in one call: as many as fit into a block of memory."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from metalearn.types import Source, Task

BLOCK_BYTES = 64 * 2**20
"""Memory that a block of tasks may take, about: a block is from 1 to ``BLOCK_ITERATIONS`` iterations."""

BLOCK_ITERATIONS = 250


class Blocks:
    """The tasks that a training sees: iteration i has those of its place in block ``i // length``.

    Args:
        source: of the tasks.
        tasks: T, of an iteration.
        seed: of the training; block b is drawn with ``(seed, b)``.

    Attributes:
        length: iterations of a block.
        example: tasks as they are drawn, of one iteration, for those who need a look at them.
    """

    def __init__(self, source: Source, tasks: int, seed: int) -> None:
        self._source, self._tasks, self._seed = source, tasks, seed
        self.example = source.sample((seed, 0), tasks)
        self.length = int(np.clip(BLOCK_BYTES // max(_bytes(self.example), 1), 1, BLOCK_ITERATIONS))
        self._kept: tuple[int, Task] | None = None
        self._sample = tf.function(self._trace_sample, autograph=False)

    def of(self, block: int) -> Task:
        """Return the tasks of a block, leaves ``[length, T, ...]``."""
        if self._kept is None or self._kept[0] != block:
            self._kept = block, self._sample(tf.constant([self._seed, block]))
        return self._kept[1]

    def at(self, iteration: int) -> Task:
        """Return the tasks of an iteration, leaves ``[T, ...]``."""
        block, offset = divmod(iteration, self.length)
        return tf.nest.map_structure(lambda leaf: leaf[offset], self.of(block))

    def _trace_sample(self, seed: tf.Tensor) -> Task:
        tasks = self._source.sample(seed, self.length * self._tasks)
        shape = [self.length, self._tasks]
        return tf.nest.map_structure(lambda leaf: tf.reshape(leaf, shape + leaf.shape[1:]), tasks)


def _bytes(tasks: Task) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.size for leaf in tf.nest.flatten(tasks))

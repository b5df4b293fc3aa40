"""Tasks of many iterations that are drawn in one call, in blocks of limited memory."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from metalearn.random import of_share
from metalearn.sources.contract import BLOCK_BYTES, check_sampler, spec, task_bytes
from metalearn.sources.leaves import with_extremes
from metalearn.sources.prefetch import prefetched
from metalearn.sources.protocol import Source, is_constant, is_divisible, runs_in_graph
from metalearn.training.workers import Workers
from metalearn.types import Seed, Task

BLOCK_ITERATIONS = 250
"""The largest number of iterations of a block; smaller, down to 1, if it would exceed ``BLOCK_BYTES``."""


class Blocks:
    """The tasks of a training: iteration i uses entry ``i % length`` of block ``i // length``.

    Of several workers, each has its share of every meta-batch.

    Tasks of a source in the graph are drawn by a compiled program when a block is needed; those of other
    sources are prefetched by a thread; a constant source is drawn once for all iterations.

    Args:
        source: the source of the tasks; it is checked to be a pure function of its seed.
        tasks: T, the number of tasks of an iteration.
        seed: the seed of the training; block b is drawn with ``(seed, b)``.
        workers: the workers that share the tasks.

    Attributes:
        length: the number of iterations of a block.
        spec: the shapes and types of the tasks of an iteration.

    Raises:
        ValueError: if the source is not valid, see :func:`metalearn.sources.check_sampler`.
    """

    def __init__(self, source: Source, tasks: int, seed: int, workers: Workers) -> None:
        check_sampler(source)
        self._source, self._tasks, self._seed, self._workers = source, tasks, seed, workers
        self.spec = spec(source, tasks)
        if not tf.nest.flatten(self.spec):  # tasks without data are determined by their number
            source = _Nothing()
            self._source, self.spec = source, spec(source, tasks)
        fitting = BLOCK_BYTES // max(tasks * task_bytes(source, self.spec), 1)
        self.length = BLOCK_ITERATIONS if is_constant(source) else int(np.clip(fitting, 1, BLOCK_ITERATIONS))
        self.stored = 1 if is_constant(source) else self.length
        self._kept: tuple[int, Task] | None = None
        self._ahead: tuple[int, Iterator[Task]] | None = None
        self._sample = tf.function(self._trace_sample, autograph=False) if runs_in_graph(source) else None

    def of(self, block: int) -> Task:
        """Return the tasks of a block of this worker, leaves ``[stored, T / workers, ...]``."""
        if self._kept is not None and (is_constant(self._source) or self._kept[0] == block):
            return self._kept[1]
        self._kept = block, self._drawn(block)
        return self._kept[1]

    def at(self, iteration: int) -> Task:
        """Return the tasks of an iteration, of all workers, leaves ``[T, ...]``."""
        block, offset = divmod(iteration, self.length)
        whole = (
            self.of(block)
            if self._workers.count == 1
            else self._shaped(self._source.sample((self._seed, block), self.stored * self._tasks))
        )
        return tf.nest.map_structure(lambda leaf: leaf[offset % self.stored], whole)

    def copies(self) -> Task:
        """Return a block of this worker with copies of one task, the same for all workers."""
        shape = [self.stored, self._workers.share(self._tasks)]
        return tf.nest.map_structure(
            lambda leaf: tf.broadcast_to(leaf[None], shape + leaf.shape[1:]), self.one()
        )

    def one(self) -> Task:
        """Return one task, leaves ``[1, ...]``, with the extremes of all targets, for checks of values."""
        drawn = tf.nest.map_structure(tf.convert_to_tensor, self._source.sample((self._seed, 0), 1))
        return with_extremes(self._source, drawn)

    def example(self) -> Task:
        """Return tasks of zeros with the shapes and types of an iteration's tasks."""
        return tf.nest.map_structure(lambda leaf: tf.zeros(leaf.shape, leaf.dtype), self.spec)

    def _drawn(self, block: int) -> Task:
        if self._sample is not None:
            return self._sample(tf.constant([self._seed, block]))
        if self._ahead is None or self._ahead[0] != block:
            seeds = ((self._seed, later) for later in itertools.count(block))
            self._ahead = block, prefetched(self._source, seeds, self.stored * self._tasks)
        draws = self._ahead[1]
        self._ahead = block + 1, draws
        return self._share_of(self._shaped(next(draws)))

    def _trace_sample(self, seed: tf.Tensor) -> Task:
        if not is_divisible(self._source):
            return self._share_of(self._shaped(self._source.sample(seed, self.stored * self._tasks)))
        with of_share(self._workers.index, self._workers.count, self.stored):
            share = self._workers.share(self._tasks)
            return self._shaped(self._source.sample(seed, self.stored * share))

    def _share_of(self, whole: Task) -> Task:
        size = self._workers.share(self._tasks)
        begin = self._workers.index * size
        return tf.nest.map_structure(lambda leaf: leaf[:, begin : begin + size], whole)

    def _shaped(self, tasks: Task) -> Task:
        return tf.nest.map_structure(lambda leaf: tf.reshape(leaf, [self.stored, -1, *leaf.shape[1:]]), tasks)


@dataclasses.dataclass(frozen=True)
class _Nothing:
    """Tasks without data, for problems that have none."""

    constant = True

    def sample(self, seed: Seed, tasks: int) -> Task:
        return Task((), (), info=tf.zeros([tasks]))

"""The list of tasks of an evaluation: in memory as a whole where it is small, else drawn block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import tensorflow as tf

from metalearn.sources import BLOCK_BYTES, Source, task_bytes
from metalearn.sources.leaves import hash_leaves
from metalearn.sources.protocol import is_constant
from metalearn.types import Batch, Seed, Structure, Task

TASKS_AT_ONCE = 1000
"""The most tasks of one compiled call; fewer where they would take more than ``BLOCK_BYTES``."""

EVALUATION_STREAM = -1
"""Second half of the seed of evaluation tasks; training draws from 0 upwards, so they never coincide."""


class TaskList:
    """A list of tasks that a source and a seed determine, in chunks for a compiled program.

    A list of at most ``BLOCK_BYTES``, by the source's spec, is one draw with the seed ``(seed, -1)``, and is
    kept. Of a longer one no more than ``BLOCK_BYTES`` are in memory at a time: block b is drawn with
    ``(seed, -1 - b)`` whenever it is needed. One data set, which is the same for every seed, is one draw.

    Args:
        source: of the tasks.
        count: their number, at least 1.
        seed: at least 0.
        shapes: the source's spec, where it is known.

    Attributes:
        digest: of the tasks, known when :meth:`chunks` has come to its end: that of support and query as
            drawn; of a longer list, where the source has a ``fingerprint``, that of the blocks' fingerprints.
    """

    def __init__(self, source: Source, count: int, seed: int, shapes: Task | None = None) -> None:
        self._source, self._count, self._seed = source, count, seed
        size = max(task_bytes(source, shapes), 1)
        self._chunk = max(1, min(TASKS_AT_ONCE, BLOCK_BYTES // size))
        is_kept = is_constant(source) or count * size <= BLOCK_BYTES
        # Whole chunks: every other size would be a program of its own.
        in_block = self._chunk * max(1, BLOCK_BYTES // (size * self._chunk))
        self._block = count if is_kept else in_block
        self._kept = self._drawn(0) if is_kept else None
        self.digest = ""

    @property
    def first(self) -> Task:
        """The first of the tasks, leaves ``[1, ...]``; what is learned of it needs no other draw."""
        drawn = self._source.sample(self._seed_of(0), 1) if self._kept is None else self._kept
        return _sliced(drawn, 0, 1)

    def chunks(self) -> Iterator[tuple[int, Task]]:
        """Yield the tasks in order, leaves ``[chunk, ...]``, each chunk with the number of its first task."""
        digest = hashlib.sha256()
        for block, first in enumerate(range(0, self._count, self._block)):
            tasks = self._drawn(block) if self._kept is None else self._kept
            if not self.digest:
                self._hash(digest, block, tasks)
            for start in range(0, self._tasks_of(block), self._chunk):
                yield first + start, _sliced(tasks, start, self._chunk)
            del tasks  # before the next ones are drawn
        self.digest = self.digest or digest.hexdigest()[:16]

    def _tasks_of(self, block: int) -> int:
        return min(self._block, self._count - block * self._block)

    def _seed_of(self, block: int) -> Seed:
        return self._seed, EVALUATION_STREAM - block

    def _drawn(self, block: int) -> Task:
        tasks = self._tasks_of(block)
        drawn = self._source.sample(self._seed_of(block), tasks)
        # Tasks without data: what makes them is their number.
        return drawn if tf.nest.flatten(drawn) else drawn._replace(info=tf.zeros([tasks]))

    def _hash(self, digest: hashlib._Hash, block: int, tasks: Task) -> None:
        fingerprint = getattr(self._source, "fingerprint", None)
        if self._kept is None and callable(fingerprint):
            digest.update(fingerprint(self._seed_of(block), self._tasks_of(block)))
        else:
            hash_leaves(digest, [_uninformed(part, tasks.info) for part in (tasks.support, tasks.query)])


def _sliced(tasks: Task, first: int, count: int) -> Task:
    return tf.nest.map_structure(lambda leaf: leaf[first : first + count], tasks)


def _uninformed(part: Structure, info: Structure) -> Structure:
    """Return examples without the task's info that an oracle finds at the end of its inputs."""
    if not isinstance(part, Batch) or not tf.is_tensor(part.inputs) or not tf.is_tensor(info):
        return part
    told, inputs = info.shape[-1], part.inputs
    if not told or inputs.shape.rank != 3 or inputs.shape[-1] <= told:
        return part
    is_told = tf.reduce_all(inputs[..., -told:] == tf.cast(info, inputs.dtype)[:, None])
    return part._replace(inputs=inputs[..., :-told]) if is_told else part

"""The list of tasks of an evaluation: kept in memory if it is small, else drawn in blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import tensorflow as tf

from metalearn.sources import BLOCK_BYTES, Source, task_bytes
from metalearn.sources.leaves import hash_leaves
from metalearn.sources.protocol import is_constant
from metalearn.types import Batch, Seed, Structure, Task

TASKS_AT_ONCE = 1000
"""The largest number of tasks of one compiled call, unless they would exceed ``BLOCK_BYTES``."""

EVALUATION_STREAM = -1
"""Second half of the seed of evaluation tasks; that of training tasks is at least 0, so they differ."""


class TaskList:
    """A list of tasks that is determined by a source and a seed, in chunks for a compiled program.

    A list of at most ``BLOCK_BYTES``, according to the source's spec, is one draw with the seed ``(seed,
    -1)`` and is kept. A longer list is drawn in blocks of at most ``BLOCK_BYTES``: block b is drawn with
    ``(seed, -1 - b)`` whenever it is needed. A constant source is drawn once.

    Args:
        source: the source of the tasks.
        count: the number of tasks, at least 1.
        seed: the seed, at least 0.
        shapes: the source's spec, if it is known.

    Attributes:
        digest: a digest of the tasks, known after the end of :meth:`chunks`: that of support and query; for a
            longer list from a source with ``fingerprint``, that of the blocks' fingerprints.
    """

    def __init__(self, source: Source, count: int, seed: int, shapes: Task | None = None) -> None:
        self._source, self._count, self._seed = source, count, seed
        size = max(task_bytes(source, shapes), 1)
        self._chunk = max(1, min(TASKS_AT_ONCE, BLOCK_BYTES // size))
        is_kept = is_constant(source) or count * size <= BLOCK_BYTES
        # Blocks of whole chunks, because a chunk of another size needs another program.
        in_block = self._chunk * max(1, BLOCK_BYTES // (size * self._chunk))
        self._block = count if is_kept else in_block
        self._kept = self._drawn(0) if is_kept else None
        self.digest = ""

    @property
    def first(self) -> Task:
        """The first task, leaves ``[1, ...]``, without another draw."""
        return _sliced(self._sampled(0, 1) if self._kept is None else self._kept, 0, 1)

    def chunks(self) -> Iterator[tuple[int, Task]]:
        """Yield the index of the first task of each chunk, and the chunk, leaves ``[chunk, ...]``."""
        digest = hashlib.sha256()
        for block, first in enumerate(range(0, self._count, self._block)):
            tasks = self._drawn(block) if self._kept is None else self._kept
            if not self.digest:
                self._hash(digest, block, tasks)
            for start in range(0, self._tasks_of(block), self._chunk):
                yield first + start, _sliced(tasks, start, self._chunk)
            del tasks  # frees the memory before the next block is drawn
        self.digest = self.digest or digest.hexdigest()[:16]

    def _tasks_of(self, block: int) -> int:
        return min(self._block, self._count - block * self._block)

    def _seed_of(self, block: int) -> Seed:
        return self._seed, EVALUATION_STREAM - block

    def _drawn(self, block: int) -> Task:
        tasks = self._tasks_of(block)
        drawn = self._sampled(block, tasks)
        # Tasks without data are determined by their number.
        return drawn if tf.nest.flatten(drawn) else drawn._replace(info=tf.zeros([tasks]))

    def _sampled(self, block: int, tasks: int) -> Task:
        drawn = self._source.sample(self._seed_of(block), tasks)
        return tf.nest.map_structure(tf.convert_to_tensor, drawn)

    def _hash(self, digest: hashlib._Hash, block: int, tasks: Task) -> None:
        fingerprint = getattr(self._source, "fingerprint", None)
        if self._kept is None and callable(fingerprint):
            digest.update(fingerprint(self._seed_of(block), self._tasks_of(block)))
        else:
            hash_leaves(digest, [_uninformed(part, tasks.info) for part in (tasks.support, tasks.query)])


def _sliced(tasks: Task, first: int, count: int) -> Task:
    return tf.nest.map_structure(lambda leaf: leaf[first : first + count], tasks)


def _uninformed(part: Structure, info: Structure) -> Structure:
    """Return examples without the task's info at the end of an oracle's inputs."""
    if not isinstance(part, Batch) or not tf.is_tensor(part.inputs) or not tf.is_tensor(info):
        return part
    size, inputs = info.shape[-1], part.inputs
    if not size or inputs.shape.rank != 3 or inputs.shape[-1] <= size:
        return part
    is_info = tf.reduce_all(inputs[..., -size:] == tf.cast(info, inputs.dtype)[:, None])
    return part._replace(inputs=inputs[..., :-size]) if is_info else part

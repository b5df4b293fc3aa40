"""The iterations of a training whose tasks several workers share: two compiled halves, an all-reduce between.

XLA has no collective operations between processes on a CPU, so that a loop over iterations cannot be one
program. A worker finds the means over its own tasks in the first half; those of all workers are summed, in
one vector for each type; the second half moves phi by the mean of them, alike on every worker.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from metalearn.execution.compiled import Compiled
from metalearn.problems.learner import Learner
from metalearn.random import of_share
from metalearn.training.carrying import Carried, Carry, first
from metalearn.training.program import Found, Outcome, Program
from metalearn.training.workers import Workers
from metalearn.types import Meta, Structure, Task, TaskMapping

Vectors = dict[str, tf.Tensor]
"""By type, all that is summed over the workers."""


class Sharded:
    """What :class:`metalearn.training.program.Program` is on each of several workers.

    Args:
        program: of the whole meta-batch.
        workers: that share its tasks; each calls this with the same arguments.
        mapping: over the tasks.
        jit_compile: whether to compile the halves with XLA; None for what suits the first.
    """

    def __init__(
        self, program: Program, workers: Workers, mapping: TaskMapping, jit_compile: bool | None
    ) -> None:
        self._program, self._workers = program, workers
        self._find = Compiled(self._trace_find, mapping, jit_compile)
        self._move: Compiled | None = None
        self._like: Structure = ()

    @property
    def mapping(self) -> TaskMapping:
        """See :class:`metalearn.execution.compiled.Compiled`."""
        return self._find.mapping

    @property
    def jit_compile(self) -> bool | None:
        """See :class:`metalearn.execution.compiled.Compiled`."""
        return self._find.jit_compile

    def build(
        self, block: Task, first: tf.Tensor, count: tf.Tensor, keep: tf.Tensor, carried: Carried
    ) -> None:
        """Trace the first half."""
        with of_share(self._workers.index, self._workers.count):
            self._find.build(block, first, own(carried, self._workers))

    def __call__(
        self, block: Task, first: tf.Tensor, count: tf.Tensor, keep: tf.Tensor, carried: Carried
    ) -> Outcome:
        """Make ``count`` iterations from ``first`` on; ``keep`` says whether the updates are to stay."""
        now, rows, kept = own(carried, self._workers), [], True
        for iteration in map(tf.constant, range(int(first), int(first) + int(count))):
            with of_share(self._workers.index, self._workers.count):
                vectors, inner, estimator = self._find(block, iteration, now)
            self._move = self._move or Compiled(self._trace_move, self.mapping, self.jit_compile)
            sums = {name: self._workers.sum(vector) for name, vector in vectors.items()}
            row, finite, gradient, proposed, statistics = self._move(sums, iteration, keep)
            rows.append(row)
            kept = bool(finite) and bool(keep)
            if not kept:
                break
            now = Carried(statistics, inner, estimator)
        return Outcome(
            rows=tf.stack(rows),
            kept=tf.constant(len(rows) - (not kept)),
            finite=finite,
            gradient=gradient,
            proposed=proposed,
            carried=_whole(now, self._workers),
        )

    def _trace_find(self, block: Task, iteration: tf.Tensor, carried: Carried) -> tuple[Vectors, Any, Any]:
        """Return what is found of this worker's tasks, with its means as vectors."""
        tasks = self._program.tasks(block, iteration)
        found = self._program.find(_part(tasks, self._workers), iteration, carried)
        shared = found._replace(inner=(), estimator=())
        self._like = tf.nest.map_structure(tf.TensorSpec.from_tensor, shared)
        vectors: dict[str, list[tf.Tensor]] = {}
        for leaf in tf.nest.flatten(shared):
            vectors.setdefault(leaf.dtype.name, []).append(tf.reshape(leaf, [-1]))
        packed = {name: tf.concat(leaves, 0) for name, leaves in vectors.items()}
        return packed, found.inner, found.estimator

    def _trace_move(
        self, sums: Vectors, iteration: tf.Tensor, keep: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, Meta, Meta, Structure]:
        """Update phi by the means over all workers, unless they are not finite or not to be kept."""
        leaves = tf.nest.flatten(self._like)
        parts = {}
        for name, vector in sums.items():
            sizes = [leaf.shape.num_elements() for leaf in leaves if leaf.dtype.name == name]
            parts[name] = iter(tf.split(vector / tf.constant(self._workers.count, vector.dtype), sizes))
        means = [tf.reshape(next(parts[leaf.dtype.name]), leaf.shape) for leaf in leaves]
        found: Found = tf.nest.pack_sequence_as(self._like, means)
        before = self._program.values()
        row, finite = self._program.move(found, iteration)
        proposed = self._program.phi()
        self._program.undo(before, finite & keep)
        return row, finite, found.gradient, proposed, found.statistics


def compiled(
    program: Program, workers: Workers, mapping: TaskMapping, jit_compile: bool | None
) -> Compiled | Sharded:
    """Return a program as it is called: compiled as a whole, or shared by workers."""
    if workers.count == 1:
        return Compiled(program.trace, mapping, jit_compile)
    return Sharded(program, workers, mapping, jit_compile)


def begun(learner: Learner, meta: Meta, tasks: Task, carry: Carry, workers: Workers) -> Carried:
    """Return what all workers carry into the first iteration, where each begins with the same.

    Inner loops are ``[T, ...]``, as without workers; of the estimator's carry, which may have tasks anywhere,
    there is one for each worker, ``[count, ...]``.
    """
    carried = first(learner, meta, _part(tasks, workers), carry)
    if workers.count == 1:
        return carried
    inner, estimator = (
        tf.nest.map_structure(lambda leaf: tf.repeat(leaf[None], workers.count, 0), part)
        for part in (carried.inner, carried.estimator)
    )
    return carried._replace(inner=_merged(inner), estimator=estimator)


def own(carried: Carried, workers: Workers) -> Carried:
    """Return what this worker carries: inner loops of its tasks, and the estimator's carry of its own."""
    if workers.count == 1:
        return carried
    estimator = tf.nest.map_structure(lambda leaf: leaf[workers.index], carried.estimator)
    return carried._replace(inner=_part(carried.inner, workers), estimator=estimator)


def _whole(carried: Carried, workers: Workers) -> Carried:
    """Return what all workers carry, given what this one does."""
    parts = carried.inner, carried.estimator
    leaves = [leaf.numpy() for leaf in tf.nest.flatten(parts)]
    gathered = [tf.constant(array) for array in workers.gathered(leaves)]
    inner, estimator = tf.nest.pack_sequence_as(parts, gathered)
    return carried._replace(inner=_merged(inner), estimator=estimator)


def _part(structure: Structure, workers: Workers) -> Structure:
    """Return this worker's tasks of a meta-batch ``[T, ...]``."""

    def part(leaf: tf.Tensor) -> tf.Tensor:
        size = workers.share(leaf.shape[0])
        return leaf[workers.index * size : (workers.index + 1) * size]

    return tf.nest.map_structure(part, structure)


def _merged(structure: Structure) -> Structure:
    """Return ``[T, ...]`` of the tasks of each worker, ``[count, T / count, ...]``."""
    return tf.nest.map_structure(lambda leaf: tf.reshape(leaf, [-1, *leaf.shape[2:]]), structure)

"""The iterations of a training with several workers: two compiled halves with an all-reduce between them.

XLA has no collective operations between processes on a CPU, so a loop over iterations cannot be one program.
In the first half a worker computes the means over its own tasks; those of all workers are summed, in one
vector for each type; the second half updates phi with their mean, equally on every worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from metalearn.execution.compiled import Compiled
from metalearn.problems.learner import Learner
from metalearn.random import of_share
from metalearn.training.arguments import Arguments
from metalearn.training.carrying import Carried, Carry, first
from metalearn.training.program import Found, Outcome, Program
from metalearn.training.workers import Workers
from metalearn.types import Meta, Structure, Task, TaskMapping

Vectors = dict[str, tf.Tensor]
"""The vectors that are summed over the workers, by type."""


class Part(NamedTuple):
    """A program that is compiled as a whole: that of a training, or a half of it.

    Attributes:
        program: the program.
        arguments: its arguments, or their shapes and types.
        like: returns a structure that equals that of its results, given the arguments.
        name: what distinguishes it from the other parts and from those of other workers.
    """

    program: Compiled
    arguments: tuple[Any, ...]
    like: Callable[..., Structure]
    name: tuple[Any, ...] = ()


class Sharded:
    """The counterpart of a compiled :class:`metalearn.training.program.Program` on each of several workers.

    Args:
        program: the program for the whole meta-batch.
        workers: the workers, each of which makes the same calls.
        mapping: the mapping over tasks.
        jit_compile: whether to compile the halves with XLA; None for an automatic choice for each.
    """

    def __init__(
        self, program: Program, workers: Workers, mapping: TaskMapping, jit_compile: bool | None
    ) -> None:
        self._program, self._workers = program, workers
        self._find = Compiled(self._trace_find, mapping, jit_compile)
        self._move = Compiled(self._trace_move, mapping, jit_compile)

    @property
    def mapping(self) -> TaskMapping:
        """See :class:`metalearn.execution.compiled.Compiled`."""
        return self._find.mapping

    @property
    def jit_compile(self) -> bool | None:
        """See :class:`metalearn.execution.compiled.Compiled`."""
        return self._find.jit_compile

    def parts(self, given: Arguments) -> list[Part]:
        """Return the halves."""
        carried, like = own(given.carried, self._workers), self._program.found(given.carried)
        sizes: dict[str, int] = {}
        for leaf in tf.nest.flatten(like):
            sizes[leaf.dtype.name] = sizes.get(leaf.dtype.name, 0) + leaf.shape.num_elements()
        sums = {name: tf.TensorSpec([size], name) for name, size in sizes.items()}
        row = given.count, given.keep, like.gradient, like.gradient, like.statistics
        found = sums, carried.inner, carried.estimator
        finding = given.block, given.seed, given.first, carried
        moving = sums, given.first, given.keep, carried.statistics
        of_worker = self._workers.index, self._workers.count
        return [
            Part(self._find, finding, lambda *_: found, ("find", *of_worker)),
            Part(self._move, moving, lambda *_: row, ("move", *of_worker)),
        ]

    def __call__(self, given: Arguments) -> Outcome:
        """Make the iterations of a call."""
        first, count, keep = int(given.first), int(given.count), bool(given.keep)
        now, rows, kept = own(given.carried, self._workers), [], True
        for iteration in map(tf.constant, range(first, first + count)):
            vectors, inner, estimator = self._find(given.block, given.seed, iteration, now)
            sums = {name: self._workers.sum(vector) for name, vector in vectors.items()}
            results = self._move(sums, iteration, given.keep, now.statistics)
            row, finite, gradient, proposed, statistics = results
            rows.append(row)
            kept = bool(finite) and keep
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

    def _trace_find(
        self, block: Task, seed: tf.Tensor, iteration: tf.Tensor, carried: Carried
    ) -> tuple[Vectors, Structure, Structure]:
        """Return the results for this worker's tasks, with its means as vectors."""
        with of_share(self._workers.index, self._workers.count):
            found = self._program.find(self._program.tasks(block, iteration), seed, iteration, carried)
        leaves = tf.nest.flatten(found._replace(inner=(), estimator=()))
        parts: dict[str, list[tf.Tensor]] = {}
        for leaf in leaves:
            parts.setdefault(leaf.dtype.name, []).append(tf.reshape(leaf, [-1]))
        vectors = {name: tf.concat(each, 0) for name, each in parts.items()}
        return vectors, found.inner, found.estimator

    def _trace_move(
        self, sums: Vectors, iteration: tf.Tensor, keep: tf.Tensor, statistics: Structure
    ) -> tuple[tf.Tensor, tf.Tensor, Meta, Meta, Structure]:
        """Update phi with the means over all workers, if they are finite and the update is kept.

        The statistics before the iteration are for their structure.
        """
        like = self._program.found(Carried(statistics, (), ()))
        leaves, parts = tf.nest.flatten(like), {}
        for name, vector in sums.items():
            sizes = [leaf.shape.num_elements() for leaf in leaves if leaf.dtype.name == name]
            parts[name] = iter(tf.split(vector / tf.constant(self._workers.count, vector.dtype), sizes))
        means = [tf.reshape(next(parts[leaf.dtype.name]), leaf.shape) for leaf in leaves]
        found: Found = tf.nest.pack_sequence_as(like, means)
        before = self._program.values()
        row, finite = self._program.move(found, iteration)
        proposed = self._program.phi()
        self._program.undo(before, finite & keep)
        return row, finite, found.gradient, proposed, found.statistics


Calls: TypeAlias = Compiled | Sharded
"""A program in compiled form: as a whole, or divided among workers."""


def parts_of(calls: Calls, program: Program, given: Arguments) -> list[Part]:
    """Return the parts that are compiled for the calls of a program."""
    return calls.parts(given) if isinstance(calls, Sharded) else [Part(calls, (given,), program.like)]


def compiled(program: Program, workers: Workers, mapping: TaskMapping, jit_compile: bool | None) -> Calls:
    """Return a program in compiled form."""
    if workers.count == 1:
        return Compiled(program.trace, mapping, jit_compile)
    return Sharded(program, workers, mapping, jit_compile)


def begun(learner: Learner, meta: Meta, tasks: Task, carry: Carry, workers: Workers) -> Carried:
    """Return the carried state of all workers before the first iteration.

    Inner loops are ``[T, ...]``, as without workers. Each worker has its own estimator's carry, ``[count,
    ...]``, because the axis of tasks in it is unknown.
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
    """Return the carried state of this worker: the inner loops of its tasks, and its estimator's carry."""
    if workers.count == 1:
        return carried
    estimator = tf.nest.map_structure(lambda leaf: leaf[workers.index], carried.estimator)
    return carried._replace(inner=_part(carried.inner, workers), estimator=estimator)


def _whole(carried: Carried, workers: Workers) -> Carried:
    """Return the carried state of all workers, given that of this one."""
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
    """Return ``[T, ...]``, given the tasks of each worker, ``[count, T / count, ...]``."""
    return tf.nest.map_structure(lambda leaf: tf.reshape(leaf, [-1, *leaf.shape[2:]]), structure)

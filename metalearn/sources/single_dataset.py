"""One data set as a source, for problems with a single task."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.nest import names
from metalearn.random import split_seed
from metalearn.sources.distinct import draw_distinct
from metalearn.sources.leaves import (
    as_array,
    as_task,
    as_variables,
    digest_of,
    extremes_of,
    fingerprint,
    require_examples,
)
from metalearn.types import Batch, Seed, Structure, Task


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """One complete data set, or mini-batches of it. Use :func:`dataset` to create it.

    Attributes:
        support: the support examples in variables ``[N, ...]``.
        query: the query examples in variables ``[M, ...]``, possibly the same variables.
        batch: the number of examples of a mini-batch, or None.
        info: the ``info`` of the data set, for evaluations; empty with mini-batches.
    """

    support: Structure
    query: Structure
    batch: int | None = None
    info: Structure = ()

    @property
    def constant(self) -> bool:
        """Whether all seeds give the same task."""
        return self.batch is None

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Return the data set, or draw mini-batches as a pure function of the seed.

        Args:
            seed: two integers; not used without mini-batches.
            tasks: T; has to be 1 without mini-batches.

        Returns:
            A task with leaves ``[1, N, ...]`` and ``[1, M, ...]``, or ``[T, batch, ...]``.

        Raises:
            ValueError: if there is more than one task without mini-batches.
        """
        require_count("tasks", tasks)
        if self.batch is None:
            if tasks != 1:
                raise ValueError(
                    f"one data set is one task, but {tasks} were requested: set meta_batch_size=1 "
                    "(num_tasks=1), or use mini-batches, ml.tasks.dataset(arrays, batch=...)"
                )
            return Task(_whole(self.support), _whole(self.query), info=_whole(self.info))
        support, query = self._rows(seed, tasks)
        return Task(support=_of(self.support, support), query=_of(self.query, query))

    def fingerprint(self, seed: Seed, tasks: int) -> bytes:
        """Return a digest of the arrays, which is computed once, and of the examples' indices in them."""
        return fingerprint(self._digest, () if self.batch is None else self._rows(seed, tasks))

    @functools.cached_property
    def extremes(self) -> tuple[Structure, Structure] | None:
        """The smallest and the largest integer targets, see :class:`Source`; None if each task has all."""
        parts = (self.support, self.query)
        if self.batch is None or not all(isinstance(part, Batch) for part in parts):
            return None
        targets = [part.targets for part in parts]
        return extremes_of(*targets) if names(targets[0]) == names(targets[1]) else None

    @functools.cached_property
    def _digest(self) -> hashlib._Hash:
        return digest_of((self.support, self.query, self.info))

    def _rows(self, seed: Seed, tasks: int) -> list[tf.Tensor]:
        """Draw indices of support and query examples of mini-batches, each ``[T, batch]``."""
        assert self.batch is not None
        sizes = [tf.nest.flatten(part)[0].shape[0] for part in (self.support, self.query)]
        seeds = split_seed(seed, 2)
        return [
            draw_distinct(tf.fill([tasks], size), self.batch, own)
            for size, own in zip(sizes, seeds, strict=True)
        ]

    def __repr__(self) -> str:
        sizes = [tf.nest.flatten(part)[0].shape[0] for part in (self.support, self.query)]
        return f"<one data set, {sizes[0]} support and {sizes[1]} query examples, batch={self.batch}>"


def dataset(arrays: Any, batch: int | None = None, *, dtype: str | None = None) -> Dataset:
    """Return one data set as a source.

    ::

        tasks = ml.tasks.dataset({"support": (x, y), "query": (x_val, y_val)})

    The whole data set is one task that is the same for all seeds (``constant``); drawing it copies nothing.
    With ``batch``, a task consists of independently drawn mini-batches of different examples of the support
    and of the query. The ``info`` of a Task is only supported without ``batch``.

    Args:
        arrays: a mapping with support and query or a Task, each a pair ``(inputs [N, ...], targets [N,
            ...])`` of arrays or nested arrays; or one such pair, which is used as support and query.
        batch: the number of examples of a mini-batch, at least 1; None for the whole data set.
        dtype: the type of floating-point numbers; Keras' ``floatx`` by default. Integers are not converted.

    Raises:
        ValueError: if arrays of one part differ in length or have non-finite numbers, ``batch`` is larger
            than a part, or both ``batch`` and an ``info`` are given.
    """
    shared = not (isinstance(arrays, (Task, Mapping)))
    parts = as_task((arrays, arrays) if shared else arrays, "the argument of dataset")
    info = tf.nest.map_structure(lambda leaf: as_array(leaf, dtype), parts.info)
    if batch is not None and tf.nest.flatten(info):
        raise ValueError(
            f"batch={batch} makes tasks of mini-batches, but info describes the whole data set: omit it"
        )
    held: dict[str, Structure] = {}
    for name, examples in (("support", parts.support), ("query", parts.query)):
        if name == "query" and shared:
            held[name] = held["support"]
            continue
        leaves = tf.nest.map_structure(lambda leaf: as_array(leaf, dtype), examples)
        size = require_examples(leaves, f"the {name} of the data set")
        if batch is not None:
            require_count("batch", batch)
            if batch > size:
                raise ValueError(f"batch={batch} is more than the {size} examples of the {name}: lower it")
        held[name] = as_variables(leaves)
    return Dataset(held["support"], held["query"], batch, as_variables(info))


def _whole(examples: Structure) -> Any:
    return tf.nest.map_structure(lambda leaf: tf.convert_to_tensor(leaf)[None], examples)


def _of(examples: Structure, rows: tf.Tensor) -> Any:
    return tf.nest.map_structure(lambda leaf: tf.gather(leaf, rows), examples)

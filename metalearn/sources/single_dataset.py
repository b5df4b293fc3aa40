"""One data set as a source: of problems whose outer loop has a single task."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.random import split_seed
from metalearn.sources.distinct import draw_distinct
from metalearn.sources.leaves import (
    as_array,
    as_task,
    as_variables,
    digest_of,
    fingerprint,
    require_examples,
)
from metalearn.types import Seed, Structure, Task


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """One data set: the whole of it, or mini-batches. Made by :func:`dataset`.

    Attributes:
        support: the examples to adapt on, in variables ``[N, ...]``.
        query: the examples to judge by, in variables ``[M, ...]``; may be the same variables.
        batch: examples of a mini-batch, or None.
        info: of the whole data set, for whoever judges a learner; empty with mini-batches.
    """

    support: Structure
    query: Structure
    batch: int | None = None
    info: Structure = ()

    @property
    def constant(self) -> bool:
        """Whether every seed gives the same task."""
        return self.batch is None

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Return the data set, or draw mini-batches as a pure function of the seed.

        Args:
            seed: two integers; without mini-batches nothing depends on it.
            tasks: T; without mini-batches it has to be 1.

        Returns:
            A task with leaves ``[1, N, ...]`` and ``[1, M, ...]``, or ``[T, batch, ...]``.

        Raises:
            ValueError: if there are more tasks than one, and no mini-batches.
        """
        require_count("tasks", tasks)
        if self.batch is None:
            if tasks != 1:
                raise ValueError(
                    f"one data set is one task, and {tasks} are asked for: set meta_batch_size=1 "
                    "(num_tasks=1), or draw mini-batches, ml.tasks.dataset(arrays, batch=...)"
                )
            return Task(_whole(self.support), _whole(self.query), info=_whole(self.info))
        support, query = self._rows(seed, tasks)
        return Task(support=_of(self.support, support), query=_of(self.query, query))

    def fingerprint(self, seed: Seed, tasks: int) -> bytes:
        """Return a digest of the arrays, which is computed once, and of the examples' indices in them."""
        return fingerprint(self._digest, () if self.batch is None else self._rows(seed, tasks))

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

    The whole data set is one task that is the same for every seed (``constant``), and drawing it copies
    nothing. With ``batch`` a task is a mini-batch of different examples of the support, and one of the
    query, independently drawn. The ``info`` of a Task goes along with the whole.

    Args:
        arrays: a mapping with support and query or a Task, each a pair ``(inputs [N, ...], targets [N,
            ...])`` of arrays or nested arrays; or one such pair, which is then both support and query.
        batch: examples of a mini-batch, at least 1; None for the whole data set.
        dtype: of floating-point numbers; Keras' ``floatx`` if not given. Integers stay what they are.

    Raises:
        ValueError: if arrays of one part differ in length or hold a number that is not finite, ``batch`` is
            larger than a part, or there are mini-batches and an ``info`` of the whole.
    """
    shared = not (isinstance(arrays, (Task, Mapping)))
    parts = as_task((arrays, arrays) if shared else arrays, "the argument of dataset")
    info = tf.nest.map_structure(lambda leaf: as_array(leaf, dtype), parts.info)
    if batch is not None and tf.nest.flatten(info):
        raise ValueError(
            f"batch={batch} makes tasks of a part, and info is of the whole data set: leave it out"
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

"""Tasks from data sets in memory: every task selects a data set and examples from it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.nest import label, names
from metalearn.random import split_seed
from metalearn.sources.distinct import draw_below, draw_distinct
from metalearn.sources.leaves import (
    as_array,
    as_batch,
    as_variables,
    digest_of,
    extremes_of,
    fingerprint,
    require_examples,
)
from metalearn.types import Seed, Structure, Task


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Arrays:
    """Tasks with a uniformly drawn data set and uniformly drawn, disjoint support and query examples from it.

    Use :func:`from_arrays` to create it.

    Attributes:
        examples: the concatenated examples of all data sets, in variables ``[sum N, ...]``.
        sizes: the number of examples of each data set, int32 ``[S]``.
        shots: the number of support examples of a task.
        queries: the number of query examples of a task.
    """

    examples: Any
    sizes: tf.Tensor
    shots: int
    queries: int

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw tasks as a pure function of the seed, eagerly, in a graph or under XLA.

        Args:
            seed: two integers.
            tasks: T, at least 1.

        Returns:
            A task with support leaves ``[T, shots, ...]`` and query leaves ``[T, queries, ...]``.

        Raises:
            ValueError: if ``tasks`` is not a positive integer.
        """
        support, query = self._rows(seed, tasks)
        return Task(support=self._of(support), query=self._of(query))

    def fingerprint(self, seed: Seed, tasks: int) -> bytes:
        """Return a digest of the arrays, which is computed once, and of the examples' indices in them."""
        return fingerprint(self._digest, self._rows(seed, tasks))

    @functools.cached_property
    def extremes(self) -> tuple[Structure, Structure]:
        """The smallest and the largest integer targets of all data sets, see :class:`Source`."""
        return extremes_of(self.examples.targets)

    @functools.cached_property
    def _digest(self) -> hashlib._Hash:
        return digest_of((self.examples, self.sizes))

    def _rows(self, seed: Seed, tasks: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Draw indices of support and query examples, ``[T, shots]`` and ``[T, queries]``."""
        require_count("tasks", tasks)
        of_set, of_examples = split_seed(seed, 2)
        chosen = draw_below(tf.size(self.sizes), [tasks], of_set)
        drawn = draw_distinct(tf.gather(self.sizes, chosen), self.shots + self.queries, of_examples)
        rows = tf.gather(tf.cumsum(self.sizes, exclusive=True), chosen)[:, None] + drawn
        return rows[:, : self.shots], rows[:, self.shots :]

    def _of(self, rows: tf.Tensor) -> Any:
        return tf.nest.map_structure(lambda leaf: tf.gather(leaf, rows), self.examples)

    def __repr__(self) -> str:
        return f"<{self.sizes.shape[0]} data sets, {self.shots} shots, {self.queries} queries>"


def from_arrays(
    datasets: Sequence[tuple[Any, Any]], shots: int, queries: int, *, dtype: str | None = None
) -> Arrays:
    """Return a source of tasks from a list of data sets of any sizes.

    ::

        tasks = ml.tasks.from_arrays([(x_1, y_1), (x_2, y_2)], shots=5, queries=15)

    Every task draws a data set uniformly, independent of their sizes, and then ``shots + queries`` different
    examples from it.

    Args:
        datasets: pairs ``(inputs [N, ...], targets [N, ...])`` of arrays or nested arrays, with equal shapes
            and types except for N.
        shots: the number of support examples of a task, at least 1.
        queries: the number of query examples of a task, at least 1.
        dtype: the type of floating-point numbers; Keras' ``floatx`` by default. Integers are not converted.

    Raises:
        ValueError: if a data set has fewer than ``shots + queries`` examples or non-finite numbers, or shapes
            or types differ, naming its index; or if there is no data set.
    """
    require_count("shots", shots)
    require_count("queries", queries)
    if not isinstance(datasets, Sequence) or not datasets:
        raise ValueError(
            f"from_arrays takes a list of data sets [(inputs, targets), ...], got {type(datasets).__name__}"
            f"{'' if isinstance(datasets, Sequence) else ': ml.tasks.dataset takes a single data set'}"
        )
    batches = [_batch(examples, index, dtype) for index, examples in enumerate(datasets)]
    sizes = [require_examples(batch, f"data set {index}") for index, batch in enumerate(batches)]
    for index, (batch, size) in enumerate(zip(batches, sizes, strict=True)):
        if size < shots + queries:
            raise ValueError(
                f"data set {index} has {size} examples, but a task needs {shots} shots + {queries} queries = "
                f"{shots + queries} different ones: lower them, or remove the data set"
            )
        _require_alike(batches[0], batch, index)
    joined = tf.nest.map_structure(lambda *leaves: np.concatenate(leaves), *batches)
    return Arrays(as_variables(joined), tf.constant(sizes, tf.int32), shots, queries)


def _batch(examples: Any, index: int, dtype: str | None) -> Any:
    batch = as_batch(examples)
    if not isinstance(batch, tuple) or not hasattr(batch, "inputs"):
        raise ValueError(
            f"data set {index} has to be a pair (inputs, targets), got {type(examples).__name__}"
        )
    return tf.nest.map_structure(lambda leaf: as_array(leaf, dtype), batch)


def _require_alike(first: Structure, other: Structure, index: int) -> None:
    """Raise ValueError if data set ``index`` differs from the first in structure, types or shapes."""
    if names(first) != names(other):
        raise ValueError(f"data set {index} has the arrays {names(other)}, but data set 0 has {names(first)}")
    for name, left, right in zip(names(first), tf.nest.flatten(first), tf.nest.flatten(other), strict=True):
        if left.dtype != right.dtype or left.shape[1:] != right.shape[1:]:
            raise ValueError(
                f"data set {index} has {right.dtype} {right.shape[1:]} examples at {label(name)}, data set 0 "
                f"has {left.dtype} {left.shape[1:]}: tasks of one source need the same shapes and types"
            )

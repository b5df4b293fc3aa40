"""Samplers in Python or NumPy as sources."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.nest import label, names
from metalearn.sources.contract import CHECKED_TASKS, SEEDS, check_sampler
from metalearn.sources.leaves import as_array, as_task
from metalearn.types import Seed, Task

Sampler = Callable[[tuple[int, int], int], Any]
"""``sample(seed, tasks)``: from two non-negative integers and T to a Task of arrays ``[T, ...]``."""


@dataclasses.dataclass(frozen=True)
class Function:
    """A Python sampler that is called outside the graph. Use :func:`from_function` to create it.

    Attributes:
        function: the sampler.
        prefetch: the number of draws to make in advance.
        dtype: the type of floating-point numbers; None for Keras' ``floatx``.
        one: the shapes and types of one task.
    """

    function: Sampler
    prefetch: int = 2
    dtype: str | None = None
    one: Task | None = dataclasses.field(default=None, compare=False, repr=False)

    in_graph = False

    @property
    def __name__(self) -> str:
        return getattr(self.function, "__name__", None) or type(self.function).__name__

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw tasks, eagerly.

        Args:
            seed: two integers, which the function receives modulo ``2^32``: evaluation's -1 becomes the
                largest.
            tasks: T, at least 1.

        Raises:
            ValueError: if called in a graph, where the function would only run once; or if the tasks have
                other shapes or types than the first ones, naming the leaf.
        """
        require_count("tasks", tasks)
        if not tf.executing_eagerly():
            raise ValueError(
                f"{self.__name__} runs Python, which a graph would call only once: call "
                "source.sample eagerly (in_graph is False), and pass the tasks to the graph as arguments"
            )
        drawn = as_task(self.function(seed_numbers(seed), tasks), self.__name__)
        task = tf.nest.map_structure(lambda leaf: tf.constant(as_array(leaf, self.dtype)), drawn)
        if self.one is not None:
            _require_spec(self.__name__, task, self.spec(tasks))
        return task

    def spec(self, tasks: int) -> Task:
        """Return the shapes and types of ``tasks`` tasks, known from a draw in :func:`from_function`."""
        return tf.nest.map_structure(lambda leaf: tf.TensorSpec([tasks, *leaf.shape], leaf.dtype), self.one)


def from_function(sample: Sampler, *, prefetch: int = 2, dtype: str | None = None) -> Function:
    """Return a sampler in Python or NumPy as a source.

    ::

        def sample(seed, tasks):
            rng = np.random.default_rng([*seed])
            slope, x = rng.normal(size=(tasks, 1, 1)), rng.normal(size=(tasks, 20, 1))
            y = slope * x
            return (x[:, :10], y[:, :10]), (x[:, 10:], y[:, 10:])

        tasks = ml.tasks.from_function(sample)

    The sampler is called outside the graph for a block of tasks at a time, in training by a thread that draws
    in advance (:func:`metalearn.sources.prefetched`). As for every source, one call draws all tasks of a
    block, so that it can use array operations.

    Args:
        sample: ``sample(seed, tasks)``, a pure function of a tuple of two non-negative integers and T, whose
            random numbers all come from the seed. It returns a Task, or a pair of support and query, each a
            pair ``(inputs, targets)`` of arrays or nested arrays ``[T, N, ...]``.
        prefetch: the number of draws to make in advance, at least 0.
        dtype: the type of floating-point numbers; Keras' ``floatx`` by default, because NumPy's default is
            float64. Integers are not converted.

    Raises:
        ValueError: if the sampler is not a pure function of the seed, ignores it, or does not return tasks,
            which is checked by a few calls.
    """
    require_count("prefetch", prefetch, minimum=0)
    if not callable(sample):
        raise ValueError(f"from_function takes a function sample(seed, tasks), got {type(sample).__name__}")
    source = Function(sample, prefetch, dtype)
    drawn = source.sample(SEEDS[0], CHECKED_TASKS)
    for name, leaf in zip(names(drawn), tf.nest.flatten(drawn), strict=True):
        if not leaf.shape.rank or leaf.shape[0] != CHECKED_TASKS:
            raise ValueError(
                f"{source.__name__} gives {label(name)} the shape {leaf.shape} for {CHECKED_TASKS} tasks: "
                "every array needs the leading axis [T, ...]"
            )
    one = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape[1:], leaf.dtype), drawn)
    source = dataclasses.replace(source, one=one)
    check_sampler(source)
    return source


def _require_spec(name: str, task: Task, expected: Task) -> None:
    """Raise ValueError naming a leaf of other shape or type than is expected."""
    if names(task) != names(expected):
        raise ValueError(f"{name} drew the arrays {names(task)}, but {names(expected)} before")
    for leaf, found, known in zip(names(task), tf.nest.flatten(task), tf.nest.flatten(expected), strict=True):
        if found.shape != known.shape or found.dtype != known.dtype:
            raise ValueError(
                f"{name} drew {found.dtype.name} {found.shape} at {label(leaf)}, but its first tasks had "
                f"{known.dtype.name} {known.shape}: tasks of one source need one shape and "
                "type"
            )


def seed_numbers(seed: Seed) -> tuple[int, int]:
    """Return the two numbers of a seed as non-negative Python integers, which NumPy's generators require.

    Evaluation's -1 becomes ``2^32 - 1``; non-negative numbers are unchanged.
    """
    first, second = (int(number) % 2**32 for number in np.asarray(seed))
    return first, second

"""Checks of the contract of sources before training: shapes, sizes, purity."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.nest import epsilon, label, names
from metalearn.random import of_share
from metalearn.sources.protocol import describe, is_constant, is_divisible, runs_in_graph
from metalearn.types import Structure, Task

Returned = TypeVar("Returned")

BLOCK_BYTES = 64 * 2**20
"""The approximate memory limit for the tasks of one compiled call."""

CHECKED_TASKS = 3
"""The number of tasks of a draw in the check of a sampler."""

SEEDS = ((0, 0), (0, 1), (0, 2), (1, 0), (2, 0))
"""The compared seeds: iterations of one run, and first iterations of several runs."""

REMEDY = (
    "draw only from the seed, with metalearn.random or np.random.default_rng([*seed]), and wrap functions "
    "with Python or NumPy as ml.tasks.from_function(sample)"
)


KEPT = 64
"""The number of sources whose checks and graphs are cached; trainers of a sweep have equal sources."""


def _once_a_value(function: Callable[..., Returned]) -> Callable[..., Returned]:
    """Return a function of a source whose results are cached for equal sources, if these are values.

    Values are frozen dataclasses that are compared by their settings, like the families of regression tasks.
    """

    @functools.lru_cache(maxsize=KEPT)
    def remembered(floatx: str, source: Any, *arguments: Any) -> Returned:
        return function(source, *arguments)

    @functools.wraps(function)
    def call(source: Any, *arguments: Any) -> Returned:
        if _is_value(source):
            return remembered(keras.config.floatx(), source, *arguments)  # results may depend on floatx
        return function(source, *arguments)

    return call


def _is_value(source: Any) -> bool:
    if not dataclasses.is_dataclass(source) or type(source).__hash__ is object.__hash__:
        return False
    try:
        hash(source)
    except TypeError:  # it contains arrays or is mutable
        return False
    return True


def spec(source: Any, tasks: int) -> Task:
    """Return the shapes and types of ``source.sample(seed, tasks)`` without drawing.

    Args:
        source: a source. Its own ``spec(tasks)`` is used if it has one; otherwise it is traced.
        tasks: T, at least 1.

    Returns:
        A Task of ``tf.TensorSpec``.

    Raises:
        ValueError: if the source can neither be traced nor has a ``spec``, or it does not return a Task with
            a leading axis T in every leaf, naming the leaf.
    """
    require_count("tasks", tasks)
    own = getattr(source, "spec", None)
    if callable(own):
        found = own(tasks)
    elif runs_in_graph(source):
        found = _traced(source, tasks).structured_outputs
    else:
        raise ValueError(
            f"{describe(source)} runs outside the graph (in_graph=False), so it needs a method spec(tasks), "
            "which ml.tasks.from_function(sample) has"
        )
    found = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), found)
    _require_tasks(source, found, tasks)
    return found


def task_bytes(source: Any, found: Task | None = None) -> int:
    """Return the number of bytes of one task of a source.

    Args:
        source: a source.
        found: its :func:`spec` for any number of tasks, if it is known, because tracing takes time.

    Raises:
        ValueError: as :func:`spec`; or if a shape is not fully known, naming the leaf.
    """
    found = spec(source, 1) if found is None else found
    total = 0
    for name, leaf in zip(names(found), tf.nest.flatten(found), strict=True):
        if not leaf.shape.is_fully_defined():
            raise ValueError(
                f"{describe(source)} gives {name} the shape {leaf.shape}, which has to be fully known: "
                "call tf.ensure_shape on it"
            )
        total += leaf.shape[1:].num_elements() * leaf.dtype.size
    return total


@_once_a_value
def check_sampler(source: Any) -> None:
    """Raise ValueError unless the tasks of a source are a pure function of the seed.

    Two draws with one seed have to be equal, in one graph for a source that runs in the graph; draws with
    seeds that differ in either number have to differ, unless the source is ``constant``; and eager execution
    has to agree with the graph. This detects samplers with their own generator (a NumPy generator is traced
    once and always returns the same tasks), stateful operations such as ``tf.random.normal``, and samplers
    that ignore the seed. A share of the tasks of a ``divisible`` source has to be a part of the
    whole. A few tasks are drawn for each of a few seeds.

    Raises:
        ValueError: naming the violated condition and the remedy.
    """
    name, inside = describe(source), runs_in_graph(source)
    tasks = 1 if is_constant(source) else CHECKED_TASKS
    program = _traced(source, tasks) if inside else None

    def draw(seed: tuple[int, int]) -> list[np.ndarray]:
        drawn = source.sample(seed, tasks) if program is None else program(tf.constant(seed))
        return [np.asarray(leaf) for leaf in tf.nest.flatten(drawn)]

    first, again = draw(SEEDS[0]), draw(SEEDS[0])
    if not first:  # tasks without data cannot depend on a seed
        return
    if not _equal(first, again):
        raise ValueError(
            f"{name} draws other tasks when it is called again with the same seed, so it has a hidden state "
            f"(tf.random.normal, a generator). No run could be reproduced: {REMEDY}"
        )
    if is_constant(source):
        _require_constant(name, first, draw)
    else:
        _require_dependence(name, first, draw)
    if inside:
        eager = source.sample(SEEDS[0], tasks)
        _require_agreement(name, eager, first)
        if is_divisible(source):
            _require_shares(source, eager)


@_once_a_value
def _traced(source: Any, tasks: int) -> Any:
    """Return ``source.sample`` as a concrete function of the seed; raise ValueError if it has no graph."""
    name = describe(source)
    if not callable(getattr(source, "sample", None)):
        raise ValueError(
            f"{name} is not a source of tasks: it needs sample(seed, tasks) -> Task (see ml.tasks.as_source)"
        )
    sample = tf.function(lambda seed: source.sample(seed, tasks), autograph=False)
    try:
        traced = sample.get_concrete_function(tf.TensorSpec([2], tf.int32))
    except Exception as error:
        raise ValueError(
            f"{name}.sample cannot be traced into a graph ({type(error).__name__}: {error}). If it uses "
            "Python or NumPy, wrap it as ml.tasks.from_function(sample)"
        ) from error
    _require_tasks(source, traced.structured_outputs, tasks)
    return traced


def _require_tasks(source: Any, drawn: Structure, tasks: int) -> None:
    if not isinstance(drawn, Task):
        raise ValueError(
            f"{describe(source)}.sample has to return ml.Task(support=..., query=...), but returns "
            f"{type(drawn).__name__}"
        )
    for name, leaf in zip(names(drawn), tf.nest.flatten(drawn), strict=True):
        if not leaf.shape.rank or leaf.shape[0] != tasks:
            raise ValueError(
                f"{describe(source)} gives {label(name)} the shape {leaf.shape} for {tasks} tasks: every "
                "leaf needs the leading axis [T, ...]"
            )


def _require_constant(name: str, first: list[np.ndarray], draw: Callable[..., list[np.ndarray]]) -> None:
    if not all(_equal(first, draw(seed)) for seed in SEEDS[1:]):
        raise ValueError(f"{name} declares constant=True, but draws other tasks with another seed")


def _require_dependence(name: str, first: list[np.ndarray], draw: Callable[..., list[np.ndarray]]) -> None:
    """Raise ValueError if one of the two numbers of the seed has no effect."""
    for number, seeds in (("second", SEEDS[1:3]), ("first", SEEDS[3:])):
        if all(_equal(first, draw(seed)) for seed in seeds):
            raise ValueError(
                f"{name} draws the same tasks for every {number} number of the seed: it ignores the "
                "seed, or a generator of Python or NumPy was called once, when the graph was built. Training "
                f"would always use the same tasks: {REMEDY}; a source of one fixed task declares this with "
                "constant = True"
            )


def _require_agreement(name: str, eager: Structure, graph: list[np.ndarray]) -> None:
    """Raise ValueError if eager execution and the graph return different tasks, up to rounding."""
    for leaf, left, right in zip(names(eager), tf.nest.flatten(eager), graph, strict=True):
        if not _close(np.asarray(left), right):
            raise ValueError(
                f"{name} draws another {label(leaf)} in a graph than eagerly with the same seed: part of it "
                f"comes from a generator of Python or NumPy: {REMEDY}"
            )


def _require_shares(source: Any, whole: Structure) -> None:
    """Raise ValueError if the second of three workers does not draw the second of three tasks."""
    with of_share(1, CHECKED_TASKS):
        share = source.sample(SEEDS[0], 1)
    for leaf, left, right in zip(names(whole), tf.nest.flatten(whole), tf.nest.flatten(share), strict=True):
        if not _close(np.asarray(left)[1:2], np.asarray(right)):
            raise ValueError(
                f"{describe(source)} declares divisible=True, but a worker draws another {label(leaf)} than "
                "one process: make all draws with metalearn.random.by_task, or leave divisible out"
            )


def _close(left: np.ndarray, right: np.ndarray) -> bool:
    """Return whether two arrays of one shape and type are equal up to rounding."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if left.dtype.kind != "f":
        return np.array_equal(left, right)
    largest = np.max(np.abs(left), initial=0.0, where=np.isfinite(left))
    tolerance = epsilon(tf.as_dtype(left.dtype)) ** 0.5 * largest
    return np.allclose(left, right, rtol=0, atol=tolerance, equal_nan=True)


def _equal(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    return all(
        a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(left, right, strict=True)
    )

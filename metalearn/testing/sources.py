"""Conformance check of sources."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from metalearn.nest import names
from metalearn.sources.contract import check_sampler, spec, task_bytes
from metalearn.sources.protocol import describe, is_constant, runs_in_graph
from metalearn.types import Task

PARTS = ("train", "validation", "test")


def check_source(source: Any, tasks: int = 3) -> None:
    """Check that a source fulfils the contract of :class:`metalearn.sources.Source`.

    Its tasks are a pure function of the seed (:func:`metalearn.sources.check_sampler`) and have the shapes
    and types of its spec for any number of tasks, eagerly and in a graph; seeds may be tuples or tensors,
    with evaluation's -1 as the second number, which gives other tasks than training; a count below 1 is an
    error; and the parts of ``split`` are sources.

    Args:
        source: the source.
        tasks: the number of tasks of a draw, at least 1; one for a constant source.

    Raises:
        AssertionError: naming the violated requirement.
    """
    name = describe(source)
    assert callable(getattr(source, "sample", None)), f"{name} has no method sample(seed, tasks)"
    try:
        check_sampler(source)
        assert task_bytes(source) > 0, f"{name}: a task has no bytes"
    except ValueError as error:
        raise AssertionError(str(error)) from error
    for count in [1] if is_constant(source) else [1, tasks, tasks + 1]:
        _assert_specified(source, count)
    _assert_seeds(source, 1 if is_constant(source) else tasks)
    for wrong in (0, -1, 2.5, True):
        assert _refuses(source, wrong), f"{name}.sample(seed, {wrong!r}) has to raise ValueError"
    if callable(getattr(source, "split", None)):
        for part in PARTS:
            drawn = source.split(part)
            assert callable(getattr(drawn, "sample", None)), f"{name}.split({part!r}) is not a source"


def _assert_specified(source: Any, tasks: int) -> None:
    """Check that tasks have the shapes and types of ``spec``."""
    name, expected, drawn = describe(source), spec(source, tasks), source.sample((3, 4), tasks)
    assert isinstance(drawn, Task), f"{name} draws {type(drawn).__name__}, not a Task"
    assert names(drawn) == names(expected), f"{name} draws {names(drawn)}, but specifies {names(expected)}"
    for leaf, found, known in zip(
        names(drawn), tf.nest.flatten(drawn), tf.nest.flatten(expected), strict=True
    ):
        found = tf.convert_to_tensor(found)
        assert known.is_compatible_with(found), (
            f"{name} draws {found.dtype.name} {found.shape} at {leaf}, but specifies {known}"
        )


def _assert_seeds(source: Any, tasks: int) -> None:
    """Check that seeds may be tensors, and that evaluation tasks differ from training tasks."""
    name, seed = describe(source), (3, -1)
    first = source.sample(seed, tasks)
    assert _equal(first, source.sample(tf.constant(seed), tasks)), (
        f"{name} draws other tasks for a tensor than for the tuple {seed}"
    )
    training = [source.sample((3, iteration), tasks) for iteration in (0, 1)]
    if not is_constant(source):
        assert not any(_equal(first, other) for other in training), (
            f"{name} draws the tasks of training for the seed {seed} of evaluation"
        )
    if runs_in_graph(source):
        traced = tf.function(lambda seed: source.sample(seed, tasks), autograph=False)
        structure = traced(tf.constant(seed))
        assert names(structure) == names(first), f"{name} returns another structure in a graph"


def _equal(left: Task, right: Task) -> bool:
    return all(
        np.array_equal(np.asarray(a), np.asarray(b))
        for a, b in zip(tf.nest.flatten(left), tf.nest.flatten(right), strict=True)
    )


def _refuses(source: Any, tasks: Any) -> bool:
    try:
        source.sample((0, 0), tasks)
    except ValueError:
        return True
    return False

"""Conversion of functions and arrays to sources, and the adapter named for what cannot be converted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from metalearn.sources.function import from_function
from metalearn.sources.protocol import Source
from metalearn.sources.single_dataset import dataset
from metalearn.types import Batch, Task


def as_source(given: Any) -> Source:
    """Return ``given`` as a source of tasks.

    Args:
        given: a source, which is returned as it is; a Task or a mapping with support and query, which becomes
            :func:`~metalearn.sources.dataset`; or a function ``sample(seed, tasks)``, which becomes
            :func:`~metalearn.sources.from_function` and runs outside the graph.

    Raises:
        ValueError: if it cannot be a source as it is, naming the adapter: iterators, generators and
            ``tf.data`` go on from where they are, so no seed could draw the same tasks again, and no run be
            repeated or resumed.
    """
    if isinstance(given, (Task, Mapping)):
        return dataset(given)
    if callable(getattr(given, "sample", None)):
        if isinstance(given, type):
            raise ValueError(f"{given.__name__} is a class of sources: make one, {given.__name__}(...)")
        return given
    if isinstance(given, tf.data.Dataset):
        raise ValueError(
            "a tf.data.Dataset has an order of its own that no seed repeats. If it holds one data set that "
            "fits into memory, give ml.tasks.dataset(tuple(data.batch(len(data)).get_single_element())); a "
            "list of such pairs to ml.tasks.from_arrays; otherwise read what a seed asks for in a function "
            "for ml.tasks.from_function"
        )
    if isinstance(given, Iterator) or hasattr(given, "__next__"):
        raise ValueError(
            f"a {type(given).__name__} goes on from where it is, and no seed repeats it: give a function "
            "sample(seed, tasks) that draws from np.random.default_rng([*seed]), as "
            "ml.tasks.from_function(sample)"
        )
    if isinstance(given, (Batch, np.ndarray, tf.Tensor)):
        raise ValueError("arrays of one data set become a source by ml.tasks.dataset((inputs, targets))")
    if isinstance(given, (list, tuple)):
        raise ValueError(
            "a list of data sets becomes a source by ml.tasks.from_arrays(datasets, shots=..., queries=...), "
            "one pair of arrays by ml.tasks.dataset((inputs, targets))"
        )
    if callable(given) and not isinstance(given, type):
        return from_function(given)
    raise ValueError(
        f"{given!r} is no source of tasks: give an object with sample(seed, tasks) -> ml.Task, such as "
        "ml.tasks.Sinusoid(), or use ml.tasks.from_arrays, ml.tasks.dataset or ml.tasks.from_function"
    )

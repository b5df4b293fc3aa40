"""Conversion of functions and arrays to sources."""

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
        given: a source, which is returned unchanged; a Task or a mapping with support and query, for
            :func:`~metalearn.sources.dataset`; or a function ``sample(seed, tasks)``, for
            :func:`~metalearn.sources.from_function`, which runs outside the graph.

    Raises:
        ValueError: if it cannot be converted, naming an adapter. Iterators, generators and ``tf.data`` have a
            state that is not determined by a seed, so that no run could be reproduced or resumed.
    """
    if isinstance(given, (Task, Mapping)):
        return dataset(given)
    if callable(getattr(given, "sample", None)):
        if isinstance(given, type):
            raise ValueError(
                f"{given.__name__} is a class of sources: pass an instance, {given.__name__}(...)"
            )
        return given
    if isinstance(given, tf.data.Dataset):
        raise ValueError(
            "the order of a tf.data.Dataset is not determined by a seed. If it contains one data set that "
            "fits into memory, use ml.tasks.dataset(tuple(data.batch(len(data)).get_single_element())); for "
            "a list of such pairs ml.tasks.from_arrays; otherwise read the tasks of a seed in a function "
            "for ml.tasks.from_function"
        )
    if isinstance(given, Iterator) or hasattr(given, "__next__"):
        raise ValueError(
            f"the values of a {type(given).__name__} are not determined by a seed: use a function "
            "sample(seed, tasks) that draws from np.random.default_rng([*seed]), as "
            "ml.tasks.from_function(sample)"
        )
    if isinstance(given, (Batch, np.ndarray, tf.Tensor)):
        raise ValueError("use ml.tasks.dataset((inputs, targets)) for the arrays of one data set")
    if isinstance(given, (list, tuple)):
        raise ValueError(
            "use ml.tasks.from_arrays(datasets, shots=..., queries=...) for a list of data sets, and "
            "ml.tasks.dataset((inputs, targets)) for one pair of arrays"
        )
    if callable(given) and not isinstance(given, type):
        return from_function(given)
    raise ValueError(
        f"{given!r} is not a source of tasks: use an object with sample(seed, tasks) -> ml.Task, such as "
        "ml.tasks.Sinusoid(), or use ml.tasks.from_arrays, ml.tasks.dataset or ml.tasks.from_function"
    )

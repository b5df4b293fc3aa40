"""Conversion, checks and digests of the arrays of tasks."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metalearn.nest import label, names
from metalearn.types import Batch, Structure, Task

ALIGNMENT = 64
"""The alignment of tensors in TensorFlow, in bytes."""


def as_array(array: Any, dtype: str | None) -> np.ndarray:
    """Return an array with floating-point numbers in ``dtype`` (Keras' ``floatx`` for None).

    NumPy's default is float64, which a float32 model does not accept. Integers, such as uint8 images, are not
    converted.
    """
    array = np.asarray(array)
    if array.dtype.kind == "f":
        return array.astype(dtype or keras.config.floatx(), copy=False)
    return array


def as_batch(examples: Any) -> Any:
    """Return a pair ``(inputs, targets)`` as a Batch, and any other nest unchanged."""
    if isinstance(examples, Batch) or not isinstance(examples, (tuple, list)) or len(examples) != 2:
        return examples
    return Batch(*examples)


def as_task(drawn: Any, what: str) -> Task:
    """Return the result of a sampler as a Task.

    Args:
        drawn: a Task, a mapping with support and query, or a pair of both.
        what: the name of the sampler, for the message.

    Raises:
        ValueError: if ``drawn`` has none of these forms.
    """
    if isinstance(drawn, Task):
        return drawn._replace(support=as_batch(drawn.support), query=as_batch(drawn.query))
    if isinstance(drawn, Mapping) and set(drawn) == {"support", "query"}:
        return Task(support=as_batch(drawn["support"]), query=as_batch(drawn["query"]))
    if isinstance(drawn, (tuple, list)) and len(drawn) == 2 and not isinstance(drawn, Batch):
        return Task(support=as_batch(drawn[0]), query=as_batch(drawn[1]))
    raise ValueError(
        f"{what} has to return ml.Task(support, query), each ml.Batch(inputs, targets), or a pair of such "
        f"pairs, but returned {type(drawn).__name__}"
    )


def require_examples(examples: Structure, what: str) -> int:
    """Return the number of examples in a nest of arrays ``[N, ...]``.

    Args:
        examples: nested arrays.
        what: their name in messages.

    Raises:
        ValueError: if there is no array, an array has no axis, lengths differ, or a number is not finite,
            naming the array.
    """
    leaves = dict(zip(names(examples), tf.nest.flatten(examples), strict=True))
    if not leaves:
        raise ValueError(f"{what} contains no arrays")
    sizes = {}
    for name, leaf in leaves.items():
        if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "fiub":
            raise ValueError(f"{what}: {label(name)} is not an array of numbers, but {leaf!r}")
        if not leaf.ndim:
            raise ValueError(f"{what}: {label(name)} is a single number, but has to be an array [N, ...]")
        if leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
            bad = int(np.argmax(~np.isfinite(leaf).reshape(len(leaf), -1).all(1)))
            raise ValueError(
                f"{what}: {label(name)} has NaN or infinity in example {bad}: remove such examples"
            )
        sizes[name] = len(leaf)
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{what}: arrays of one data set need the same number of examples, got {sizes}")
    return next(iter(sizes.values()))


def as_variables(arrays: Structure) -> Structure:
    """Return arrays in non-trainable variables, because a graph would copy captured arrays."""
    return tf.nest.map_structure(lambda leaf: tf.Variable(leaf, trainable=False), arrays)


def extremes_of(*targets: Structure) -> tuple[Structure, Structure]:
    """Return the smallest and the largest integer of each leaf over nests; zeros for other types."""

    def reduced(reduce: Callable[..., Any]) -> Structure:
        def of(*leaves: tf.Tensor) -> tf.Tensor:
            known = all(leaf.dtype.is_integer for leaf in leaves)
            return tf.constant(reduce([reduce(leaf.numpy()) for leaf in leaves]) if known else 0)

        return tf.nest.map_structure(of, *targets)

    return reduced(np.min), reduced(np.max)


def with_extremes(source: Any, tasks: Task) -> Task:
    """Return tasks with the smallest and the largest integer targets of a source that knows all of them.

    Losses check the classes of the tasks that they are traced with, which may lack a rare class.
    """
    extremes = getattr(source, "extremes", None)
    if extremes is None:
        return tasks

    def replaced(examples: Batch, ends: tuple[Structure, Structure]) -> Batch:
        return examples._replace(targets=tf.nest.map_structure(_alternating, examples.targets, *ends))

    # In the opposite order for the query, because there may be one example of each.
    return tasks._replace(
        support=replaced(tasks.support, extremes), query=replaced(tasks.query, extremes[::-1])
    )


def _alternating(leaf: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return integer targets ``[T, N, ...]`` that alternate between two numbers, and others unchanged."""
    if not leaf.dtype.is_integer:
        return leaf
    numbers = tf.where(
        tf.range(leaf.shape[1]) % 2 == 0, tf.cast(first, leaf.dtype), tf.cast(second, leaf.dtype)
    )
    return tf.broadcast_to(tf.reshape(numbers, [1, -1, *[1] * (leaf.shape.rank - 2)]), leaf.shape)


def joined(arrays: Sequence[np.ndarray]) -> tf.Variable:
    """Return the concatenation of arrays of one type, ``[N_i, ...]``, in a non-trainable variable.

    The variable uses the memory of the concatenated array, whereas TensorFlow would make two further copies
    of a NumPy array, which are gigabytes for large sets of images.
    """
    shape = [sum(map(len, arrays)), *arrays[0].shape[1:]]
    size = math.prod(shape) * arrays[0].itemsize
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    whole = buffer[start : start + size].view(arrays[0].dtype).reshape(shape)
    np.concatenate(arrays, out=whole)
    return tf.Variable(tf.experimental.dlpack.from_dlpack(whole.__dlpack__()), trainable=False)


def digest_of(arrays: Structure) -> hashlib._Hash:
    """Return the digest of a nest of arrays, which is worth caching for large arrays."""
    digest = hashlib.sha256()
    hash_leaves(digest, arrays)
    return digest


def fingerprint(data: hashlib._Hash, rows: Structure) -> bytes:
    """Return the fingerprint of a draw of some rows of data, given the digest of the data."""
    digest = data.copy()
    hash_leaves(digest, rows)
    return digest.digest()


def hash_leaves(digest: hashlib._Hash, arrays: Structure) -> None:
    """Add type, shape and bytes of every tensor or array in a nest to a digest."""
    for leaf in tf.nest.flatten(arrays):
        leaf = tf.convert_to_tensor(leaf)
        digest.update(f"{leaf.dtype.name}{leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf.numpy()).reshape(-1).view(np.uint8).data)

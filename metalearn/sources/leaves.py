"""Arrays of all kinds as the leaves of tasks."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metalearn.nest import label, names
from metalearn.types import Batch, Structure, Task

ALIGNMENT = 64
"""Bytes that TensorFlow wants the address of a tensor to be a multiple of."""


def as_array(array: Any, dtype: str | None) -> np.ndarray:
    """Return an array, its floating-point numbers in ``dtype`` (Keras' ``floatx`` for None).

    NumPy makes float64 of everything, which no float32 model takes. Integers stay, images in uint8 with them.
    """
    array = np.asarray(array)
    if array.dtype.kind == "f":
        return array.astype(dtype or keras.config.floatx(), copy=False)
    return array


def as_batch(examples: Any) -> Any:
    """Return a pair ``(inputs, targets)`` as a Batch, and any other nest as it is."""
    if isinstance(examples, Batch) or not isinstance(examples, (tuple, list)) or len(examples) != 2:
        return examples
    return Batch(*examples)


def as_task(drawn: Any, what: str) -> Task:
    """Return what a sampler has drawn as a Task.

    Args:
        drawn: a Task, a mapping with support and query, or a pair of both.
        what: name of the sampler, for the message.

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(drawn, Task):
        return drawn._replace(support=as_batch(drawn.support), query=as_batch(drawn.query))
    if isinstance(drawn, Mapping) and set(drawn) == {"support", "query"}:
        return Task(support=as_batch(drawn["support"]), query=as_batch(drawn["query"]))
    if isinstance(drawn, (tuple, list)) and len(drawn) == 2 and not isinstance(drawn, Batch):
        return Task(support=as_batch(drawn[0]), query=as_batch(drawn[1]))
    raise ValueError(
        f"{what} has to return ml.Task(support, query), each ml.Batch(inputs, targets), or a pair of such "
        f"pairs; it returned {type(drawn).__name__}"
    )


def require_examples(examples: Structure, what: str) -> int:
    """Return the number of examples in a nest of arrays ``[N, ...]``.

    Args:
        examples: nested arrays.
        what: what messages call them.

    Raises:
        ValueError: if there is no array, an array has no axis, lengths differ, or a number is not finite,
            naming the array.
    """
    leaves = dict(zip(names(examples), tf.nest.flatten(examples), strict=True))
    if not leaves:
        raise ValueError(f"{what} holds no arrays")
    sizes = {}
    for name, leaf in leaves.items():
        if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "fiub":
            raise ValueError(f"{what}: {label(name)} is no array of numbers, but {leaf!r}")
        if not leaf.ndim:
            raise ValueError(f"{what}: {label(name)} is a single number, and has to be an array [N, ...]")
        if leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
            bad = int(np.argmax(~np.isfinite(leaf).reshape(len(leaf), -1).all(1)))
            raise ValueError(
                f"{what}: {label(name)} has NaN or infinity in example {bad}: leave such examples out"
            )
        sizes[name] = len(leaf)
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{what}: arrays of one data set need equally many examples, they have {sizes}")
    return next(iter(sizes.values()))


def as_variables(arrays: Structure) -> Structure:
    """Hold arrays in variables that are not trained: a graph that closes over an array copies it instead."""
    return tf.nest.map_structure(lambda leaf: tf.Variable(leaf, trainable=False), arrays)


def joined(arrays: Sequence[np.ndarray]) -> tf.Variable:
    """Hold arrays of one type, ``[N_i, ...]``, one behind the other in a variable that is not trained.

    In memory once more: the variable takes over what they are copied to, where TensorFlow would make two
    further copies of a NumPy array, of gigabytes where these are images.
    """
    shape = [sum(map(len, arrays)), *arrays[0].shape[1:]]
    size = math.prod(shape) * arrays[0].itemsize
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    whole = buffer[start : start + size].view(arrays[0].dtype).reshape(shape)
    np.concatenate(arrays, out=whole)
    return tf.Variable(tf.experimental.dlpack.from_dlpack(whole.__dlpack__()), trainable=False)


def digest_of(arrays: Structure) -> hashlib._Hash:
    """Return the digest of a nest of arrays, to be kept: they may be large."""
    digest = hashlib.sha256()
    hash_leaves(digest, arrays)
    return digest


def fingerprint(data: hashlib._Hash, rows: Structure) -> bytes:
    """Return what tells a draw apart that is certain rows of data, given the digest of the data."""
    digest = data.copy()
    hash_leaves(digest, rows)
    return digest.digest()


def hash_leaves(digest: hashlib._Hash, arrays: Structure) -> None:
    """Add type, shape and bytes of every tensor or array in a nest to a digest."""
    for leaf in tf.nest.flatten(arrays):
        leaf = tf.convert_to_tensor(leaf)
        digest.update(f"{leaf.dtype.name}{leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf.numpy()).reshape(-1).view(np.uint8).data)

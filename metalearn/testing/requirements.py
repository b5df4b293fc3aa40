"""The common parts of conformance checks: assertions with messages, and equality of records and numbers."""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metalearn.nest import names
from metalearn.types import Structure


def hold(check: str, condition: bool, what: str) -> None:
    """Raise AssertionError with the violated requirement; ``python -O`` would remove ``assert``."""
    if not condition:
        raise AssertionError(f"{check} requires that {what}")


def same_bits(left: Structure, right: Structure) -> bool:
    """Return whether two structures have the same leaves, where NaN equals NaN."""
    pairs = zip(tf.nest.flatten(left), tf.nest.flatten(right), strict=True)
    return all(np.array_equal(one, other, equal_nan=True) for one, other in pairs)


def differing(left: Structure, right: Structure, tolerance: float) -> list[str]:
    """Return the names of leaves that differ by more than ``tolerance``, relative above 1, else absolute.

    If the structures do not match, these are the names that only one of them has.
    """
    if names(left) != names(right):
        return sorted(set(names(left)) ^ set(names(right)))
    leaves = zip(names(left), tf.nest.flatten(left), tf.nest.flatten(right), strict=True)
    return [
        name
        for name, one, other in leaves
        if np.shape(one) != np.shape(other)
        or not np.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
    ]


def layout(structure: Structure) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """Return the type and shape of every leaf by its name."""
    leaves = zip(names(structure), map(tf.convert_to_tensor, tf.nest.flatten(structure)), strict=True)
    return {name: (leaf.dtype.name, tuple(leaf.shape)) for name, leaf in leaves}


def check_record(check: str, record: Any, known: Mapping[str, Any]) -> None:
    """Raise AssertionError unless a dataclass equals its copy, including the hash, and its evaluated repr.

    Args:
        check: the name of the check, for the message.
        record: an instance of a dataclass.
        known: the names that its repr may use, in addition to those of its module, of the modules of records
            in its fields, and of Keras' schedules.
    """
    other = copy.deepcopy(record)
    hold(check, other == record, f"an equal copy is equal: {record!r}")
    try:
        same_hash = hash(other) == hash(record)
    except TypeError as error:
        raise AssertionError(f"{check} requires that a dataclass has a hash, but {error}") from error
    hold(check, same_hash, f"equal records have equal hashes: {record!r}")
    text = repr(record)
    if "<locals>" in text:
        return
    try:
        again = eval(text, _namespace(record) | dict(known))
    except Exception as error:
        raise AssertionError(f"repr can be evaluated, but {text} raises {error!r}") from error
    hold(check, again == record, f"repr can be evaluated to an equal record, but {text} is not equal")


def _namespace(record: Any) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        if dataclasses.is_dataclass(value := getattr(record, field.name)):
            known |= _namespace(value)
    return known | vars(sys.modules[type(record).__module__]) | vars(keras.optimizers.schedules)

"""The complete state of a training, as arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from metalearn.nest import names
from metalearn.types import Structure

State = dict[str, np.ndarray]


def captured(iteration: int, variables: Mapping[str, Any], carried: Structure) -> State:
    """Return an iteration, variables by name, and the carried state, as arrays."""
    everything = {**variables, **_named(carried)}
    return {"iteration": np.int64(iteration), **{name: each.numpy() for name, each in everything.items()}}


def restored(state: State, variables: Mapping[str, Any], carried: Structure) -> tuple[int, Structure]:
    """Assign the values of a state to variables; return its iteration and carried state.

    Args:
        state: the result of :func:`captured`.
        variables: the variables by name.
        carried: a carried state, for its structure.

    Raises:
        ValueError: naming what is missing, unknown or of another shape or type; nothing is changed then.
    """
    leaves = _named(carried)
    require_state(state, {**variables, **leaves})
    for name, variable in variables.items():
        variable.assign(state[name])
    values = [tf.constant(state[name], leaf.dtype) for name, leaf in leaves.items()]
    return int(state["iteration"]), tf.nest.pack_sequence_as(carried, values)


def _named(carried: Structure) -> dict[str, tf.Tensor]:
    leaves = zip(names(carried), tf.nest.flatten(carried), strict=True)
    return {f"carried/{name}": leaf for name, leaf in leaves}


def require_state(state: State, expected: Mapping[str, Any]) -> None:
    """Raise ValueError unless a state has an iteration and the expected arrays.

    Args:
        state: the state to restore.
        expected: tensors or variables by name.
    """
    if missing_or_unknown := set(state) ^ {"iteration", *expected}:
        raise ValueError(f"this state belongs to another configuration: {sorted(missing_or_unknown)} differ")
    iteration = np.asarray(state["iteration"])
    if iteration.shape or iteration.dtype.kind not in "iu" or iteration < 0:
        raise ValueError(f"iteration must be an integer of at least 0, the state has {iteration!r}")
    for name, present in expected.items():
        value, dtype = state[name], tf.as_dtype(present.dtype).name
        if value.shape != tuple(present.shape) or value.dtype != dtype:
            raise ValueError(
                f"{name} has shape {value.shape} and type {value.dtype} in the state, "
                f"{tuple(present.shape)} and {dtype} here"
            )

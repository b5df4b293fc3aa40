"""All that a training goes on from, as arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

State = dict[str, np.ndarray]


def require_state(state: State, expected: Mapping[str, Any]) -> None:
    """Raise ValueError unless a state has an iteration, and arrays as those that are expected.

    Args:
        state: to be restored.
        expected: tensors or variables by name.
    """
    if missing_or_unknown := set(state) ^ {"iteration", *expected}:
        raise ValueError(f"this state is of another configuration: {sorted(missing_or_unknown)} differ")
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

"""The map over tasks: one vectorised program, or one task after the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, get_args

import tensorflow as tf

from metalearn.execution.choice import NotVectorizableError, chosen, quiet, resolved
from metalearn.types import Structure, TaskMapping

AT_A_TIME = min(os.cpu_count() or 1, 8)
"""Tasks that a loop over them works on at once, if TensorFlow has threads for it; bits do not depend on it.

As many as there are cores, up to a number whose activations fit into memory: it holds those of each.
"""


def map_tasks(
    function: Callable[..., Any], *arguments: Structure, mapping: TaskMapping = "auto"
) -> Structure:
    """Apply ``function`` to every task.

    Take gradients inside ``function``: a tape around the vectorised map makes XLA compile anew for every
    batch.

    Args:
        function: of one task: nested tensors to nested tensors.
        *arguments: nested tensors with a leading ``[T]``.
        mapping: ``"vectorized"``: one program on ``[T, ...]``, fails on operations without a vectorised
            form; ``"sequential"``: a loop over the tasks, for any function, in memory for one task at a
            time; ``"auto"``: the former, or the latter where that fails. All give the same numbers up to
            rounding.

    Returns:
        What ``function`` returns, with a leading ``[T]``.

    Raises:
        NotVectorizableError: if ``"vectorized"`` is asked for and impossible, with the remedy.
    """
    require_mapping(mapping)
    mapping = resolved(mapping)
    if mapping == "auto":
        return chosen(lambda: map_tasks(function, *arguments))
    of_one_task = tf.autograph.experimental.do_not_convert(
        lambda stacked: tf.nest.map_structure(_made_here, function(*stacked))
    )
    if mapping == "sequential":
        return _one_by_one(of_one_task, arguments)
    return _at_once(of_one_task, arguments)


def _made_here(leaf: Any) -> tf.Tensor:
    """Return a tensor of the graph being traced: TensorFlow cannot map what is only handed through."""
    is_here = tf.is_symbolic_tensor(leaf) and leaf.graph is tf.compat.v1.get_default_graph()
    return leaf if is_here else tf.identity(leaf)


def _at_once(of_one_task: Callable[[Structure], Structure], stacked: Structure) -> Structure:
    vectorized = _call_of_its_own(
        lambda stacked: tf.vectorized_map(of_one_task, stacked, fallback_to_while_loop=False)
    )
    try:
        with quiet():
            return vectorized(stacked)
    except Exception as error:
        _require_own_fault(of_one_task, stacked, error)
        raise NotVectorizableError(error) from error


def _require_own_fault(
    of_one_task: Callable[[Structure], Structure], stacked: Structure, error: Exception
) -> None:
    """Raise ``error`` again if the function itself is at fault: it then fails for a single task, too."""
    try:
        with tf.__internal__.FuncGraph("one_task").as_default():
            of_one_task(
                tf.nest.map_structure(
                    lambda leaf: tf.compat.v1.placeholder(leaf.dtype, leaf.shape[1:]), stacked
                )
            )
    except Exception:  # noqa: BLE001 - of whatever kind
        raise error from None


def _one_by_one(of_one_task: Callable[[Structure], Structure], stacked: Structure) -> Structure:
    if all(leaf.shape[0] == 1 for leaf in tf.nest.flatten(stacked)):  # a loop takes time to build
        only = of_one_task(tf.nest.map_structure(lambda leaf: tf.squeeze(leaf, [0]), stacked))
        return tf.nest.map_structure(lambda leaf: tf.expand_dims(leaf, 0), only)
    one = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape[1:], leaf.dtype), stacked)
    # Traced before the loop, which has to know what it will return.
    traced = _call_of_its_own(of_one_task).get_concrete_function(one)
    returned = tf.nest.map_structure(tf.TensorSpec.from_tensor, traced.structured_outputs)
    at_a_time = 1 if tf.executing_eagerly() else AT_A_TIME
    return tf.map_fn(traced, stacked, fn_output_signature=returned, parallel_iterations=at_a_time)


def _call_of_its_own(function: Callable[[Structure], Structure]) -> Any:
    """Return ``function`` as a call that TensorFlow's optimizer does not dissolve into the graph around it.

    Where a graph may take much memory, that optimizer sums gradients into temporary variables. Done within
    a ``tf.while_loop`` they are created once too often, and the second run of the graph fails with
    ``AlreadyExistsError``. XLA does dissolve the call.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def require_mapping(mapping: object) -> None:
    """Raise ValueError unless ``mapping`` is one of the two ways."""
    known = get_args(TaskMapping)
    if mapping not in known:
        raise ValueError(f"mapping must be one of {', '.join(known)}, got {mapping!r}")

"""The map over tasks: one vectorised program, or one task after the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, get_args

import tensorflow as tf

from metalearn.execution.choice import (
    NotVectorizableError,
    chosen,
    is_differentiable,
    is_for_xla,
    quiet,
    resolved,
)
from metalearn.execution.cores import on_all_cores
from metalearn.types import Structure, TaskMapping


def map_tasks(
    function: Callable[..., Any], *arguments: Structure, mapping: TaskMapping = "auto"
) -> Structure:
    """Apply ``function`` to every task.

    Take gradients inside ``function``: a tape around the vectorised map makes XLA compile anew for every
    batch.

    Args:
        function: a function of one task, from nested tensors to nested tensors.
        *arguments: nested tensors with a leading ``[T]``.
        mapping: ``"vectorized"``: one program on ``[T, ...]``, which fails for operations without a
            vectorised form; ``"sequential"``: a loop over the tasks, for any function, with memory for as
            many tasks as run in parallel; ``"auto"``: the former, or the latter if that fails. The results
            are equal up to rounding.

    Returns:
        The result of ``function``, with a leading ``[T]``.

    Raises:
        NotVectorizableError: if ``"vectorized"`` is requested and impossible, with the remedy.
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
    """Return a tensor of the current graph: TensorFlow cannot map a tensor that is returned unchanged."""
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
    """Raise ``error`` again if the function itself caused it: it then fails for a single task, too."""
    try:
        with tf.__internal__.FuncGraph("one_task").as_default():
            of_one_task(
                tf.nest.map_structure(
                    lambda leaf: tf.compat.v1.placeholder(leaf.dtype, leaf.shape[1:]), stacked
                )
            )
    except Exception:  # noqa: BLE001 - of any kind
        raise error from None


def _one_by_one(of_one_task: Callable[[Structure], Structure], stacked: Structure) -> Structure:
    if tf.nest.flatten(stacked)[0].shape[0] == 1:  # one task needs no loop
        only = of_one_task(tf.nest.map_structure(lambda leaf: tf.squeeze(leaf, [0]), stacked))
        return tf.nest.map_structure(lambda leaf: tf.expand_dims(leaf, 0), only)
    one = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape[1:], leaf.dtype), stacked)
    # Traced before the loop, which needs the types of its results.
    traced = _call_of_its_own(of_one_task).get_concrete_function(one)
    returned = tf.nest.map_structure(tf.TensorSpec.from_tensor, traced.structured_outputs)
    if needs_a_loop():
        at_a_time = 1 if tf.executing_eagerly() else os.cpu_count()
        return tf.map_fn(traced, stacked, fn_output_signature=returned, parallel_iterations=at_a_time)
    return on_all_cores(traced, stacked, returned)


def needs_a_loop() -> bool:
    """Return whether tasks are processed in a loop instead of by a map over cores.

    Such a map exists only for CPUs and without XLA, and TensorFlow has no derivative of it.
    """
    return is_for_xla() or is_differentiable() or bool(tf.config.list_physical_devices("GPU"))


def _call_of_its_own(function: Callable[[Structure], Structure]) -> Any:
    """Return ``function`` as a call that TensorFlow's graph optimizer does not inline.

    For graphs with a large memory estimate, that optimizer accumulates gradients in temporary variables.
    Within a ``tf.while_loop`` these are created twice, and the second run of the graph fails with
    ``AlreadyExistsError``. XLA inlines the call.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def require_mapping(mapping: object) -> None:
    """Raise ValueError unless ``mapping`` is a known mapping."""
    known = get_args(TaskMapping)
    if mapping not in known:
        raise ValueError(f"mapping must be one of {', '.join(known)}, got {mapping!r}")

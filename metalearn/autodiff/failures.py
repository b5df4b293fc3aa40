"""Clear messages in place of TensorFlow's errors about missing derivatives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import tensorflow as tf

FAILURES = (
    LookupError,
    SystemError,
    TypeError,
    AssertionError,
    NotImplementedError,
    tf.errors.OpError,
)
"""Errors that TensorFlow raises if it cannot differentiate; a user's code may raise the same types."""

MISSING = re.compile(r"registry has no entry for: (\w+)|No gradient defined for op: (\w+)|op type: (\w+)")
"""The operation without a registered gradient, in the messages of three parts of TensorFlow."""

UNCOMPILED = re.compile(r"unsupported operations when trying to compile.*?XLA_\w+_JIT: (\w+)", re.DOTALL)
"""An operation that XLA does not have."""

CONTROL_FLOW = re.compile(r"with an exception set|dtype: 'variant'|Error\.__init__\(\) missing \d+ required")
"""Messages if a tangent meets the lists in which loops and branches of a graph store values."""

REVERSE_INSTEAD = (
    "use reverse mode (mode='reverse_over_reverse' of hvp, hessian and hessian_diagonal; vjp for jvp; any "
    "estimator but forward_mode)"
)


@contextmanager
def explained(alone: Callable[[], object] | None = None) -> Iterator[None]:
    """Replace an error of TensorFlow's differentiation by a ValueError that names the operation and a remedy.

    Args:
        alone: for forward mode, in which the function runs while it is differentiated: a call of the function
            without tangents. If this fails too, the error is the function's own. None for reverse mode, in
            which the context contains only the call of the tape.

    Raises:
        ValueError: in place of TensorFlow's error, and caused by it. Errors of the function itself are not
            changed.
    """
    try:
        yield
    except FAILURES as error:
        message = _explanation(error, alone is not None)
        if message is None:
            if alone is not None and _fails(alone):
                raise
            message = _failed(error, alone is not None)
        raise ValueError(message) from error


def _fails(function: Callable[[], object]) -> bool:
    """Return whether a function raises an error."""
    try:
        function()
    except Exception:  # noqa: BLE001 - of any kind
        return True
    return False


def _explanation(error: Exception, forward: bool) -> str | None:
    """Return the message, or None if the text of the error identifies no cause."""
    text = str(error)
    if operation := MISSING.search(text):
        return _without_derivative(next(filter(None, operation.groups())), forward)
    if operation := UNCOMPILED.search(text):
        return (
            f"XLA does not have the operation {operation[1]}, which the derivative contains: compile without "
            "XLA (jit_compile=False)"
        )
    if re.search("recompute_grad|Caching devices", text):
        return (
            "tf.recompute_grad has no second derivative in a graph and no forward derivative: call the "
            "function itself, and save memory with the estimator checkpointed"
        )
    if forward and CONTROL_FLOW.search(text):
        return _without_tangent("")
    return None


def _without_derivative(operation: str, forward: bool) -> str:
    """Return the message for an operation without a registered gradient."""
    if operation.startswith("Xla"):
        return (
            f"TensorFlow has no derivative of {operation}, which XLA uses for slices and concatenations: "
            "compile without XLA (jit_compile=False)"
        )
    if operation == "SymbolicGradient":
        return _without_tangent(" (SymbolicGradient)") if forward else _loop_without_second_derivative()
    return (
        f"the operation {operation} has no derivative in TensorFlow, so what contains it cannot be "
        "differentiated this way: write the function out in other operations (softsign as "
        "x / (1 + abs(x))), or give it a derivative with tf.custom_gradient"
    )


def _without_tangent(operation: str) -> str:
    return (
        f"TensorFlow cannot push a tangent through a tf.while_loop or a tf.cond in a graph{operation}: "
        "unroll the loop (unroll=True in recurrent layers), write the branch with tf.where, or "
        f"{REVERSE_INSTEAD}"
    )


def _loop_without_second_derivative() -> str:
    return (
        "the operation SymbolicGradient has no derivative in TensorFlow: a loop of the function (as in "
        "tf.nn.ctc_loss) has a first derivative only. Write the loop with tf.while_loop or in Python"
    )


def _failed(error: Exception, forward: bool) -> str:
    """Return TensorFlow's message in one line, with the operation if it is known."""
    if forward and not str(error):  # TensorFlow's error for a branch that XLA compiles has no text
        return _without_tangent("")
    operation = getattr(getattr(error, "op", None), "type", None)
    where = f" of the operation {operation}" if operation else ""
    first = next(iter(str(error).strip().splitlines()), "no message")
    remedy = REVERSE_INSTEAD if forward else "give it a derivative with tf.custom_gradient"
    return (
        f"TensorFlow failed to take the derivative{where} ({type(error).__name__}: {first}): write the "
        f"function out in other operations, or {remedy}"
    )

"""First derivatives; a missing gradient is an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metalearn.autodiff.failures import explained
from metalearn.nest import distinct, label, names
from metalearn.types import Structure


def value_and_gradient(function: Callable[..., tf.Tensor], *arguments: Structure) -> tuple[tf.Tensor, Any]:
    """Return ``function(*arguments)`` and its gradient with respect to every argument.

    Args:
        function: maps nested tensors to a scalar.
        *arguments: nested tensors.

    Returns:
        The value, and the gradient: structured as the argument, or a tuple of gradients for several
        arguments.

    Raises:
        ValueError: if the value does not depend on a leaf, naming it (TensorFlow returns ``None`` in this
            case, also if the tape was interrupted); or if an operation has no derivative, naming it.

    >>> value, gradient = value_and_gradient(lambda x: x["a"] ** 2, {"a": tf.constant(3.0)})
    >>> float(value), float(gradient["a"])
    (9.0, 6.0)
    """
    arguments = tuple(distinct(argument) for argument in arguments)
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        value = function(*arguments)
    with explained():
        gradient = dense(tape.gradient(value, arguments))
    if len(arguments) == 1:
        arguments, gradient = arguments[0], gradient[0]
    require_connected(arguments, gradient)
    return value, gradient


def dense(gradients: Structure) -> Structure:
    """Convert ``IndexedSlices``, the gradients of lookups, to tensors; ``None`` is unchanged."""
    return tf.nest.map_structure(
        lambda gradient: None if gradient is None else tf.convert_to_tensor(gradient), gradients
    )


def require_connected(structure: Structure, gradients: Structure) -> None:
    """Raise ValueError naming the leaves of ``structure`` whose gradient is ``None``."""
    missing = [
        label(name)
        for name, gradient in zip(names(structure), tf.nest.flatten(gradients), strict=True)
        if gradient is None
    ]
    if missing:
        raise ValueError(
            f"no gradient reaches {', '.join(missing)}: the loss does not depend on it through "
            "differentiable tensor operations. Leave it out, or look for an assignment to a variable, "
            "a conversion to NumPy or a stop_gradient on the way"
        )

"""First derivatives that refuse to be silently absent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from metalearn.types import Structure


def names(structure: Structure) -> list[str]:
    """Return the path of every leaf, ``"parameters/hidden_0/kernel"``, in ``tf.nest.flatten``'s order."""
    return ["/".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(structure)]


def value_and_gradient(function: Callable[..., tf.Tensor], *arguments: Structure) -> tuple[tf.Tensor, Any]:
    """Return ``function(*arguments)`` and its gradient with respect to every argument.

    Args:
        function: of nested tensors, to a scalar.
        *arguments: nested tensors.

    Returns:
        The value, and the gradient: structured as the argument, or a tuple of such for several arguments.

    Raises:
        ValueError: if the value does not depend on a leaf, naming it. TensorFlow returns ``None`` there,
            which is how a cut tape shows.
    """
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        value = function(*arguments)
    gradient = tape.gradient(value, arguments)
    if len(arguments) == 1:
        arguments, gradient = arguments[0], gradient[0]
    require_connected(arguments, gradient)
    return value, gradient


def require_connected(structure: Structure, gradients: Structure) -> None:
    """Raise ValueError naming the leaves of ``structure`` whose gradient is ``None``."""
    missing = [
        name
        for name, gradient in zip(names(structure), tf.nest.flatten(gradients), strict=True)
        if gradient is None
    ]
    if missing:
        raise ValueError(
            f"no gradient reaches {', '.join(missing)}: the loss does not depend on it through "
            "differentiable tensor operations. Leave it out, or look for an assignment to a variable, "
            "a conversion to NumPy or a stop_gradient on the way"
        )

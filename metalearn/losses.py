"""Losses ``(targets, outputs) -> scalar``, which are means unless their docstring says sum."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metalearn.types import Loss, Structure

__all__ = ["cross_entropy", "get", "mse", "require_scalar_loss"]

REDUCE = "lambda targets, outputs: tf.reduce_mean({}(targets, outputs))"
"""The remedy for a loss that returns one number for each example."""


def mse(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Return the mean squared error, ``mean((outputs - targets)^2)`` over examples and components.

    Args:
        targets: ``[N, D]``; integers and other floating types are cast to the type of the outputs.
        outputs: ``[N, D]``, floating point. Shapes are not broadcast, since that would hide a wrong shape.

    Raises:
        ValueError: if the shapes differ, or the outputs are not floating point.

    >>> float(mse([[0.0], [2.0]], [[1.0], [5.0]]))
    5.0
    """
    require_single("mse", targets, outputs)
    targets, outputs = tf.convert_to_tensor(targets), _floating("mse", outputs)
    if targets.shape.as_list() != outputs.shape.as_list():
        raise ValueError(
            f"mse: targets have shape {targets.shape} and outputs {outputs.shape}; "
            "they must be equal (no broadcasting)"
        )
    return tf.reduce_mean(tf.square(outputs - _cast("mse", targets, outputs.dtype)))


def cross_entropy(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Return the mean over the examples of the cross-entropy of a softmax over logits.

    ::

        -1/N sum_n sum_c targets_nc log softmax(outputs_n)_c

    Derivatives of every order are correct, including the mixed derivatives with respect to soft targets and
    logits, which are wrong in ``tf.nn.softmax_cross_entropy_with_logits``; therefore targets can be learned.
    Soft targets are not normalised, whether or not they sum to 1.

    Args:
        targets: integer classes ``[N]`` or ``[N, 1]``, from 0 to C - 1; or one-hot or soft targets
            ``[N, C]``, floating point, cast to the type of the outputs. If classes are not known when the
            graph is built and one of them is outside the range, the loss is NaN.
        outputs: logits ``[N, C]``, floating point, at least two classes.

    Raises:
        ValueError: if shapes, types or classes are invalid, naming the remedy.

    >>> round(float(cross_entropy([1, 0], [[0.0, 0.0], [0.0, 0.0]])), 4)  # log 2
    0.6931
    """
    targets, outputs = require_classification("cross_entropy", targets, outputs)
    log_probabilities = tf.nn.log_softmax(outputs)
    if targets.dtype.is_floating:
        return tf.reduce_mean(-tf.reduce_sum(targets * log_probabilities, -1))
    classes = outputs.shape[-1]
    losses = -tf.reduce_sum(tf.one_hot(targets, classes, dtype=outputs.dtype) * log_probabilities, -1)
    # The one-hot row of a class outside the range is zero, so its loss would be zero.
    possible = (targets >= 0) & (targets < classes)
    return tf.reduce_mean(tf.where(possible, losses, tf.constant(np.nan, outputs.dtype)))


def require_classification(what: str, targets: tf.Tensor, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the targets and logits of a classification, checked and in one of two forms.

    Args:
        what: name of the loss or metric, for messages.
        targets: integer classes ``[N]`` or ``[N, 1]``, or floating-point ``[N, C]``.
        outputs: logits ``[N, C]``.

    Returns:
        Targets, int32 ``[N]`` or ``[N, C]`` of the outputs' type, and outputs.

    Raises:
        ValueError: if shapes, types or classes are invalid, naming the remedy.
    """
    require_single(what, targets, outputs)
    targets, outputs = tf.convert_to_tensor(targets), _floating(what, outputs)
    shapes = f"targets have shape {targets.shape} ({targets.dtype.name}) and outputs {outputs.shape}"
    if outputs.shape.rank != 2 or outputs.shape[-1] is None:
        raise ValueError(f"{what}: {shapes}, but the outputs must be logits [N, C]: reshape them")
    classes = outputs.shape[-1]
    if classes < 2:
        raise ValueError(
            f"{what}: {shapes}: classification needs at least two classes. Let the model return one logit "
            "for each of two classes, or use the loss 'binary_crossentropy' of Keras on probabilities"
        )
    if targets.dtype.is_floating:
        if not outputs.shape.is_compatible_with(targets.shape):
            raise ValueError(
                f"{what}: {shapes}: floating-point targets are one-hot or soft, [N, C]. Cast classes to "
                "integers: tf.cast(targets, tf.int32)"
            )
        return tf.cast(targets, outputs.dtype), outputs
    if not targets.dtype.is_integer:
        raise ValueError(f"{what}: {shapes}: cast the targets to integers or, one-hot, to floating point")
    if targets.shape.rank == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.shape.rank != 1 or not outputs.shape[:1].is_compatible_with(targets.shape):
        raise ValueError(
            f"{what}: {shapes}: integer targets are classes, [N] or [N, 1]. Cast one-hot targets to floating "
            "point: tf.cast(targets, outputs.dtype)"
        )
    _require_classes(what, targets, classes)
    return tf.cast(targets, tf.int32), outputs


def get(loss: str | Loss | keras.losses.Loss) -> Loss:
    """Return a loss ``(targets, outputs) -> scalar``.

    Args:
        loss: ``"mse"``, ``"cross_entropy"``, or a name for ``keras.losses.get``, whose mean over the
            examples is returned; a ``keras.losses.Loss``, computed in the type of the outputs; or a function
            that returns a scalar, which is returned unchanged. As in Keras, entries that are masked in the
            outputs or ignored by the loss (``ignore_class``) do not count. The cross-entropies of Keras
            expect probabilities unless made with ``from_logits=True``; ``"cross_entropy"`` expects logits.

    Raises:
        ValueError: if the name is unknown, or the loss returns one number for each example, naming the
            remedy. :func:`require_scalar_loss` checks this for functions of your own.
    """
    if isinstance(loss, str):
        if loss in OWN:
            return OWN[loss]
        loss = known("loss", loss, keras.losses.get, OWN)
        if isinstance(loss, types.FunctionType):
            return MeanOf(loss)
    if isinstance(loss, keras.losses.Loss):
        if loss.reduction in (None, "none"):
            raise ValueError(
                f"the loss {describe(loss)} has reduction={loss.reduction!r} and returns one number for each "
                "example: make it with reduction='sum_over_batch_size', the mean"
            )
        return KerasLoss(loss)
    return require_function("loss", loss)


def require_scalar_loss(loss: Loss, targets_spec: Structure, outputs_spec: Structure) -> None:
    """Trace a loss on shapes and types, and raise ValueError unless it returns a scalar.

    The gradient tape differentiates the sum of a vector, so the inner learning rate would be N times too
    large.

    Args:
        loss: ``(targets, outputs) -> scalar``.
        targets_spec: nested ``tf.TensorSpec``: the targets of one task.
        outputs_spec: nested ``tf.TensorSpec``: the outputs of the model.

    Raises:
        ValueError: naming the loss, the shape and the remedy, or the error that the loss raised.
    """
    name = describe(loss)
    traced = tf.function(lambda *both: loss(*both), autograph=False)
    try:
        value = traced.get_concrete_function(targets_spec, outputs_spec).structured_outputs
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ValueError(
            f"the loss {name} cannot take targets {_shapes(targets_spec)} with outputs "
            f"{_shapes(outputs_spec)}: {error}"
        ) from error
    if not tf.is_tensor(value) or not value.dtype.is_floating:
        raise ValueError(f"the loss {name} returns {value!r}, but must return a floating-point scalar")
    if value.shape.rank != 0:
        raise ValueError(
            f"the loss {name} returns the shape {value.shape}, but must return a scalar: use its mean, "
            f"{REDUCE.format(name)}"
        )


@dataclasses.dataclass(frozen=True)
class MeanOf:
    """The mean over the examples of a function that returns one number for each of them."""

    function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

    def __call__(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        require_single(describe(self.function), targets, outputs)
        return _reduced(self.function(targets, outputs), outputs)


@dataclasses.dataclass(frozen=True)
class KerasLoss:
    """A Keras loss in the type of the outputs, or float32, because half precision has not all classes."""

    loss: keras.losses.Loss

    def __call__(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        require_single(describe(self.loss), targets, outputs)
        wide = _floating(describe(self.loss), outputs)
        wide = tf.cast(wide, tf.float32) if wide.dtype.size < tf.float32.size else wide
        losses = self.loss.call(tf.cast(targets, wide.dtype), wide)
        return _reduced(losses, outputs, self.loss.reduction == "sum")


OWN: dict[str, Loss] = {"cross_entropy": cross_entropy, "mse": mse}


def known(kind: str, name: str, find: Callable[[str], Any], own: dict[str, Loss]) -> Any:
    """Return the loss or metric of Keras called ``name``; raise ValueError if there is none."""
    try:
        return find(name)
    except ValueError as error:
        raise ValueError(
            f"the {kind} {name!r} is not known: give one of {', '.join(map(repr, own))}, a name that Keras "
            f"knows, such as 'mean_absolute_error', or a function (targets, outputs) -> scalar"
        ) from error


def require_function(kind: str, function: Any) -> Loss:
    """Return a function; raise ValueError if it is not callable, or of Keras and returns a vector."""
    if not callable(function) or isinstance(function, type):
        raise ValueError(
            f"the {kind} must be a name or a function (targets, outputs) -> scalar, got {function!r}"
        )
    if isinstance(function, types.FunctionType) and function.__module__.startswith("keras."):
        name = f"keras.losses.{function.__name__}"
        raise ValueError(
            f"the {kind} {name} returns one number for each example, but must return a scalar: give its "
            f"name, {function.__name__!r}, for the mean, or write {REDUCE.format(name)}"
        )
    return function


def describe(loss: object) -> str:
    """Return the name of a loss or a metric for messages."""
    if isinstance(loss, MeanOf):
        return f"the mean of {describe(loss.function)}"
    loss = loss.loss if isinstance(loss, KerasLoss) else loss
    return getattr(loss, "__name__", None) or type(loss).__name__


def require_single(what: str, targets: Structure, outputs: Structure) -> None:
    """Raise ValueError, with the remedy, if a loss of a single output gets nested outputs or targets."""
    for kind, given in (("outputs", outputs), ("targets", targets)):
        leaves = tf.nest.flatten(given)
        if tf.nest.is_nested(given) and any(map(tf.is_tensor, leaves)):
            raise ValueError(
                f"{what} takes one tensor of targets and one of outputs, but there are nested {kind}, "
                f"{_shapes(given)}: give a function of your own that combines them, such as "
                "lambda targets, outputs: losses.mse(targets[0], outputs[0]) + ..."
            )


def _reduced(losses: tf.Tensor, outputs: tf.Tensor, is_sum: bool = False) -> tf.Tensor:
    """Return the mean or the sum of the losses that neither the outputs nor the losses mask."""
    masks: list[Any] = [getattr(each, "_keras_mask", None) for each in (outputs, losses)]
    masks = [each for each in masks if each is not None and each.shape.rank <= losses.shape.rank]
    if not masks:
        return tf.reduce_sum(losses) if is_sum else tf.reduce_mean(losses)
    counts = tf.ones_like(losses)
    for mask in masks:
        shape = mask.shape.as_list() + [1] * (losses.shape.rank - mask.shape.rank)
        counts *= tf.cast(tf.reshape(mask, shape), losses.dtype)
    total = tf.reduce_sum(tf.where(counts > 0, losses, 0))
    return total if is_sum else tf.math.divide_no_nan(total, tf.reduce_sum(counts))


def _floating(what: str, outputs: tf.Tensor) -> tf.Tensor:
    outputs = tf.convert_to_tensor(outputs)
    if not outputs.dtype.is_floating:
        raise ValueError(f"{what}: outputs must be floating point, got {outputs.dtype.name}")
    return outputs


def _cast(what: str, targets: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    if not (targets.dtype.is_floating or targets.dtype.is_integer or targets.dtype.is_bool):
        raise ValueError(f"{what}: targets must be numbers, got {targets.dtype.name}")
    return tf.cast(targets, dtype)


def _require_classes(what: str, targets: tf.Tensor, classes: int) -> None:
    """Raise ValueError if the classes are known when the graph is built and lie outside the range."""
    values = tf.get_static_value(targets)
    if values is not None and values.size and not 0 <= values.min() <= values.max() < classes:
        raise ValueError(
            f"{what}: targets are classes from {values.min()} to {values.max()}, and the outputs have "
            f"{classes} logits, classes 0 to {classes - 1}: relabel the classes, or give the model "
            "more outputs"
        )


def _shapes(spec: Structure) -> str:
    return ", ".join(f"{leaf.dtype.name} {leaf.shape}" for leaf in tf.nest.flatten(spec))

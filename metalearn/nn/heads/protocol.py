"""The protocol of heads, and the layer that a head replaces."""

from __future__ import annotations

import math
from typing import Protocol

import keras
import tensorflow as tf

from metalearn.checks import require_positive
from metalearn.nn import functional
from metalearn.nn.layers import Dense
from metalearn.types import Structure


class Head(Protocol):
    """A method that fits the last, linear layer of a model to examples, or computes outputs in its place.

    A subclass inherits the defaults of a head for numbers without learned hyperparameters.

    Attributes:
        classes: whether its targets have to be classes.
        attends: whether :meth:`answer` replaces the last layer.
    """

    classes: bool = False
    attends: bool = False

    @property
    def hyperparameters(self) -> Structure:
        """Return the initial values of the learned hyperparameters in float64; empty if there are none.

        A learner casts them to the type of its model.
        """
        return {}

    def fit(
        self, features: tf.Tensor, targets: tf.Tensor, hyperparameters: Structure
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return kernel ``[F, O]`` and bias ``[O]``, differentiable in all arguments.

        Args:
            features: ``[N, F]``.
            targets: ``[N, O]``, of the same type; classes as one-hot vectors.
            hyperparameters: values of :attr:`hyperparameters`.

        A head with ``attends`` returns any two tensors for :meth:`answer`.
        """
        ...

    def answer(self, features: tf.Tensor, solved: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Return outputs ``[M, O]`` for features ``[M, F]``, given the result of :meth:`fit`."""
        kernel, bias = solved
        return tf.matmul(features, kernel) + bias


def linear_head(model: keras.Model) -> tuple[str, str]:
    """Return the keys of the kernel and the bias of a model's last layer.

    Raises:
        ValueError: if it is not a dense layer on features ``[N, F]`` with a bias and without an activation.
    """
    last = model.layers[-1]
    if (
        not isinstance(last, keras.layers.Dense | Dense)
        or last.activation is not keras.activations.linear
        or not last.use_bias
        or len(last.input.shape) != 2
    ):
        raise ValueError(
            f"the model's last layer {last.name!r} does not fit: a head needs a "
            "dense layer with a bias and without an activation, on features of shape [N, F]"
        )
    return functional.key_of(model, last.kernel), functional.key_of(model, last.bias)


def require_head_settings(strength: float = 1.0, scale: float | None = None) -> None:
    """Raise ValueError unless the common settings of heads are positive."""
    require_positive("strength", strength)
    if scale is not None:
        require_positive("scale", scale)


def logarithms(**values: float | None) -> dict[str, tf.Tensor]:
    """Return ``"log_<name>"`` for the values that are not None, in float64."""
    return {
        f"log_{name}": tf.constant(math.log(value), tf.float64)
        for name, value in values.items()
        if value is not None
    }


def positive(
    name: str, hyperparameters: Structure, otherwise: float | None, dtype: tf.DType
) -> tf.Tensor | float:
    """Return ``exp`` of the learned ``"log_<name>"``, or else the given number (1 for None)."""
    if f"log_{name}" in hyperparameters:
        return tf.exp(tf.cast(hyperparameters[f"log_{name}"], dtype))
    return 1.0 if otherwise is None else otherwise

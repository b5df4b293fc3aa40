"""What every head that is solved for offers, and which layer it is."""

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
    """A way to fit the last, linear layer of a model to examples, or to answer in its place.

    A record that names this class as its base inherits a head that fits numbers and learns nothing.

    Attributes:
        classes: whether it can fit classes alone.
        attends: whether it answers in the place of the last layer, by :meth:`answer`.
    """

    classes: bool = False
    attends: bool = False

    @property
    def hyperparameters(self) -> Structure:
        """Initial values of what the outer loop learns of it, in float64; empty when nothing is.

        A learner casts them to its model's type.
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

        A head that attends returns any two tensors for :meth:`answer`.
        """
        ...

    def answer(self, features: tf.Tensor, solved: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Return outputs ``[M, O]`` for features ``[M, F]``, given what :meth:`fit` returned."""
        kernel, bias = solved
        return tf.matmul(features, kernel) + bias


def linear_head(model: keras.Model) -> tuple[str, str]:
    """Return the keys of kernel and bias of a model's last layer.

    Raises:
        ValueError: if that is not a dense layer on features ``[N, F]``, with a bias and no activation.
    """
    last = model.layers[-1]
    if (
        not isinstance(last, keras.layers.Dense | Dense)
        or last.activation is not keras.activations.linear
        or not last.use_bias
        or len(last.input.shape) != 2
    ):
        raise ValueError(
            f"the model's last layer {last.name!r} is no plain dense one: a head that is solved for needs a "
            "dense layer with a bias and without an activation, on features of shape [N, F]"
        )
    return functional.key_of(model, last.kernel), functional.key_of(model, last.bias)


def require_head_settings(strength: float = 1.0, scale: float | None = None) -> None:
    """Raise ValueError unless the settings that heads share are positive."""
    require_positive("strength", strength)
    if scale is not None:
        require_positive("scale", scale)


def logarithms(**values: float | None) -> dict[str, tf.Tensor]:
    """Return ``"log_<name>"`` of the values that there are, in float64."""
    return {
        f"log_{name}": tf.constant(math.log(value), tf.float64)
        for name, value in values.items()
        if value is not None
    }


def positive(
    name: str, hyperparameters: Structure, otherwise: float | None, dtype: tf.DType
) -> tf.Tensor | float:
    """Return ``exp`` of the learned ``"log_<name>"``; a number, 1 for None, where it is not learned."""
    if f"log_{name}" in hyperparameters:
        return tf.exp(tf.cast(hyperparameters[f"log_{name}"], dtype))
    return 1.0 if otherwise is None else otherwise

"""Heads that are fitted to a task's support examples in closed form, before the first inner step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from metalearn.checks import require_positive
from metalearn.nn import functional
from metalearn.nn.layers import Dense
from metalearn.types import Structure

__all__ = ["linear_head", "ridge"]


class Head(NamedTuple):
    """A way to fit the last, linear layer of a model to examples.

    Attributes:
        hyperparameters: initial values of what the outer loop learns of it, in float64 (a learner
            casts them to its model's type); empty when nothing is.
        fit: ``(features [N, F], targets [N, O], hyperparameters) -> (kernel [F, O], bias [O])``.
    """

    hyperparameters: Structure
    fit: Callable[[tf.Tensor, tf.Tensor, Structure], tuple[tf.Tensor, tf.Tensor]]


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


def ridge(strength: float = 1.0, learned: bool = True) -> Head:
    """Return ridge regression from the features of the last layer to the targets.

    ::

        W = X' (X X' + lambda I)^{-1} Y  =  (X' X + lambda I)^{-1} X' Y,      X = [features, 1]

    by the smaller of the two systems. ``lambda = exp(l)``, with l a meta-parameter, ``"log_strength"``. The
    solution is differentiated exactly, so features are learned that ridge regression does well on.

    Args:
        strength: lambda before training, above 0. Errors are summed over the examples here, not averaged.
        learned: whether lambda is a meta-parameter.

    Raises:
        ValueError: if ``strength`` is not positive.

    Reference: Bertinetto et al. (2019), "Meta-learning with Differentiable Closed-form Solvers",
    equations 4 and 6 (R2-D2). Their scale and shift of outputs are for classes; regression has none.
    """
    require_positive("strength", strength)
    initial = tf.constant(math.log(strength), tf.float64)

    def fit(
        features: tf.Tensor, targets: tf.Tensor, hyperparameters: Structure
    ) -> tuple[tf.Tensor, tf.Tensor]:
        log_strength = hyperparameters["log_strength"] if learned else initial
        penalty = tf.exp(tf.cast(log_strength, features.dtype))
        inputs = tf.concat([features, tf.ones_like(features[:, :1])], 1)
        if inputs.shape[0] is not None and inputs.shape[0] < inputs.shape[1]:
            weights = tf.matmul(
                inputs, _solve(tf.matmul(inputs, inputs, transpose_b=True), penalty, targets), True
            )
        else:
            right = tf.matmul(inputs, targets, transpose_a=True)
            weights = _solve(tf.matmul(inputs, inputs, transpose_a=True), penalty, right)
        return weights[:-1], weights[-1]

    return Head({"log_strength": initial} if learned else {}, fit)


def _solve(gram: tf.Tensor, penalty: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Return ``(gram + penalty I)^{-1} right``; the matrix is positive definite."""
    matrix = gram + penalty * tf.eye(gram.shape[0], dtype=gram.dtype)
    return tf.linalg.cholesky_solve(tf.linalg.cholesky(matrix), right)

"""ALFA: a small network computes learning rate and weight decay of every variable."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import tensorflow as tf

from metalearn.rules.hyperparameters import (
    POSITIVE,
    Hyperparameter,
    Settings,
    current_values,
    initial_values,
    require_hyperparameter,
)
from metalearn.rules.records import Record
from metalearn.types import Parameters, Rule, Structure

NAME = "generator"
"""The name of the network's weights in the meta-parameters."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class alfa(Record, Rule):
    """Gradient descent whose learning rate and weight decay are computed by a learned network in every step.

    ::

        tau_k             = (mean(g_k[v]) for each variable v,  mean(theta_k[v]) for each v)       2V numbers
        (a, b)            = W_2 relu(W_1 relu(W_0 tau_k + c_0) + c_1) + c_2                       2V numbers
        theta_{k+1}[v]    = (1 + b[v]) theta_k[v] - learning_rate (1 + a[v]) g_k[v]

    The variables are in the order of their keys; the layers have 2V units. The last layer is initially zero,
    so that the rule is initially gradient descent; the others have Glorot-uniform weights of a fixed seed.
    The weights are learned as ``generator/...``.

    Args:
        learning_rate: positive and finite; the paper learns one for each variable and step:
            ``learned(0.01, per="variable", steps=K)``.

    Raises:
        ValueError: if the rate is not positive and finite.

    Reference: after Baik et al. (2020), "Meta-Learning with Adaptive Hyperparameters", equations 5 and 6. In
    the paper the network computes rate and decay, scaled by learned initial values; here it computes the
    relative change of the rate, and the decay. Both describe the same set of updates.
    """

    learning_rate: Hyperparameter

    def __post_init__(self) -> None:
        require_hyperparameter(POSITIVE, "learning_rate", self.learning_rate)

    def settings(self) -> Settings:
        return {"learning_rate": self.learning_rate}

    def learnable(self, parameters: Parameters) -> Structure:
        return {**initial_values(self.settings(), parameters), NAME: _weights(parameters)}

    def init(self, parameters: Parameters) -> Structure:
        return {}

    def update(
        self,
        gradients: Parameters,
        state: Structure,
        parameters: Parameters,
        values: Structure,
        step: int | tf.Tensor,
    ) -> tuple[Parameters, Structure]:
        now = current_values(self.settings(), values, parameters, step)
        change = _generate(values[NAME], gradients, parameters)
        return {
            key: (1 + decay) * parameters[key] - now[key]["learning_rate"] * (1 + rate) * gradients[key]
            for key, (rate, decay) in change.items()
        }, state


def _weights(parameters: Parameters) -> dict[str, Any]:
    """Return the network's initial weights, by layer."""
    if not parameters:
        return {}
    width = 2 * len(parameters)
    dtype = next(iter(parameters.values())).dtype
    limit = math.sqrt(6 / (width + width))

    def draw(layer: int) -> tf.Tensor:
        uniform = tf.random.stateless_uniform([width, width], (0, layer), -limit, limit, alg="philox")
        return tf.cast(uniform, dtype) if layer < 2 else tf.zeros([width, width], dtype)

    return {f"layer_{layer}": {"kernel": draw(layer), "bias": tf.zeros([width], dtype)} for layer in range(3)}


def _generate(
    weights: dict[str, Any], gradients: Parameters, parameters: Parameters
) -> dict[str, tuple[tf.Tensor, ...]]:
    """Return the changes of rate and decay of every variable."""
    dtype = weights["layer_0"]["bias"].dtype
    keys = sorted(parameters)
    means = [tf.cast(tf.reduce_mean(of[key]), dtype) for of in (gradients, parameters) for key in keys]
    hidden = tf.stack(means)[None]
    for layer in range(3):
        hidden = tf.matmul(hidden, weights[f"layer_{layer}"]["kernel"]) + weights[f"layer_{layer}"]["bias"]
        hidden = tf.nn.relu(hidden) if layer < 2 else hidden
    made = tf.unstack(hidden[0])
    pairs = zip(made[: len(keys)], made[len(keys) :], strict=True)
    return {
        key: tuple(tf.cast(number, parameters[key].dtype) for number in pair)
        for key, pair in zip(keys, pairs, strict=True)
    }

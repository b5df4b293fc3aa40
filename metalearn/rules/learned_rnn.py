"""A learned optimizer with memory: the same recurrent network for every parameter."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import tensorflow as tf

from metalearn.checks import require_count, require_positive
from metalearn.rules.hyperparameters import (
    POSITIVE,
    Hyperparameter,
    Settings,
    current_values,
    initial_values,
    require_hyperparameter,
)
from metalearn.rules.networks import affine, as_columns, float_type, glorot, silent
from metalearn.rules.records import Record
from metalearn.types import Parameters, Rule, Structure

NAME = "network"
"""The name of the network's weights in the meta-parameters."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class learned_rnn(Record, Rule):
    """A learned optimizer: LSTMs that compute the update of a parameter from the sequence of its gradients.

    ::

        x           = (log|g| / p, sign g)  where |g| >= exp(-p),   (-1, exp(p) g)  elsewhere
        i, f, o, u  = W (x, h) + w;   c <- sigmoid(f) c + sigmoid(i) tanh(u);   h <- sigmoid(o) tanh(c)
        theta_{k+1} = theta_k - learning_rate (V h + v)

    with ``layers`` stacked LSTMs. Each element of each variable has its own state; all share the weights. The
    output matrix V is initially zero, so that the rule makes no updates before meta-training; the biases of
    the forget gates are initially 1, other weights are Glorot-uniform with a fixed seed. The weights are
    learned as ``network/...``. The preprocessing is not differentiable at ``|g| = exp(-p)``.

    Args:
        learning_rate: positive and finite; 0.1 in the paper.
        units: of each LSTM.
        layers: number of LSTMs.
        preprocessing: p, positive; gradients below ``exp(-p)`` are scaled linearly, others logarithmically.

    Raises:
        ValueError: naming the argument that is out of range.

    Reference: Andrychowicz et al. (2016), "Learning to learn by gradient descent by gradient descent",
    section 2.1 and appendix A. In the paper inner gradients are constants, as with the estimator
    ``first_order``.
    """

    learning_rate: Hyperparameter
    units: int = 20
    layers: int = 2
    preprocessing: float = 10.0

    def __post_init__(self) -> None:
        require_hyperparameter(POSITIVE, "learning_rate", self.learning_rate)
        require_count("units", self.units)
        require_count("layers", self.layers)
        require_positive("preprocessing", self.preprocessing)

    def settings(self) -> Settings:
        return {"learning_rate": self.learning_rate}

    def learnable(self, parameters: Parameters) -> Structure:
        return {**initial_values(self.settings(), parameters), NAME: self._weights(parameters)}

    def init(self, parameters: Parameters) -> Structure:
        def zeros(parameter: tf.Tensor) -> tf.Tensor:
            return tf.zeros([self.units, parameter.shape.num_elements()], parameter.dtype)

        return {
            f"{name}_{layer}": {key: zeros(parameter) for key, parameter in parameters.items()}
            for layer in range(self.layers)
            for name in ("cell", "hidden")
        }

    def update(
        self,
        gradients: Parameters,
        state: Structure,
        parameters: Parameters,
        values: Structure,
        step: int | tf.Tensor,
    ) -> tuple[Parameters, Structure]:
        now = current_values(self.settings(), values, parameters, step)
        weights, moved = values[NAME], {}
        after: dict[str, Parameters] = {name: {} for name in state}
        for key, parameter in parameters.items():
            network = tf.nest.map_structure(lambda leaf, like=parameter: tf.cast(leaf, like.dtype), weights)
            columns = self._seen(gradients[key])
            for layer in range(self.layers):
                before = (state[f"{name}_{layer}"][key] for name in ("hidden", "cell"))
                cell, columns = lstm(network[f"layer_{layer}"], columns, *before)
                after[f"cell_{layer}"][key], after[f"hidden_{layer}"][key] = cell, columns
            change = tf.reshape(affine(network["output"], columns), parameter.shape)
            moved[key] = parameter - now[key]["learning_rate"] * change
        return moved, after

    def _seen(self, gradient: tf.Tensor) -> tf.Tensor:
        """Return size and sign of a variable's gradients, ``[2, elements]``."""
        size = tf.abs(gradient)
        large = size >= math.exp(-self.preprocessing)
        # The unused logarithm must be finite, too, or its derivative of 0 becomes NaN.
        logarithm = tf.math.log(tf.where(large, size, tf.ones_like(size))) / self.preprocessing
        return as_columns(
            [
                tf.where(large, logarithm, -tf.ones_like(size)),
                tf.where(large, tf.sign(gradient), math.exp(self.preprocessing) * gradient),
            ]
        )

    def _weights(self, parameters: Parameters) -> dict[str, Any]:
        """Return the network's initial weights; gates in the order i, f, o, u."""
        if not parameters:
            return {}
        dtype, units = float_type(parameters), self.units
        forget = tf.repeat(tf.constant([0.0, 1.0, 0.0, 0.0], dtype), units)[:, None]
        layers: dict[str, Any] = {}
        for layer in range(self.layers):
            kernel = glorot(4 * units, (units if layer else 2) + units, dtype, layer)["kernel"]
            layers[f"layer_{layer}"] = {"kernel": kernel, "bias": forget}
        return {**layers, "output": silent(1, units, dtype)}


def lstm(
    layer: dict[str, tf.Tensor], columns: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the cell and the output after a step, ``[units, elements]`` each."""
    # Two products instead of one with a concatenation, whose gradient XLA lacks.
    given, kept = columns.shape[0], hidden.shape[0]
    onto, back = layer["kernel"][:, :given], layer["kernel"][:, given:]
    gates = tf.matmul(onto, columns) + tf.matmul(back, hidden) + layer["bias"]
    take, forget, show, new = (gates[index * kept : (index + 1) * kept] for index in range(4))
    cell = tf.sigmoid(forget) * cell + tf.sigmoid(take) * tf.tanh(new)
    return cell, tf.sigmoid(show) * tf.tanh(cell)

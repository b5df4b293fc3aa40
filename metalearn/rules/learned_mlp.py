"""A learned optimizer: a small network computes updates from features of the gradients."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from metalearn.checks import require_count, require_positive
from metalearn.rules.elementwise import Point, mean
from metalearn.rules.hyperparameters import (
    FRACTION,
    POSITIVE,
    Hyperparameter,
    Settings,
    current_values,
    initial_values,
    require_hyperparameter,
    require_in,
)
from metalearn.rules.networks import affine, as_columns, float_type, glorot, silent
from metalearn.rules.records import Record
from metalearn.types import Parameters, Rule, Structure

NAME = "network"
"""The name of the network's weights in the meta-parameters."""

TIMES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
"""The steps at which the time features change sign."""

SMALL = 1e-5
"""Added to the mean square by which a feature is normalised."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class learned_mlp(Record, Rule):
    """A learned optimizer: the update of Adam, modified for each parameter by a network of its features.

    ::

        m_j = decays_j m_j + (1 - decays_j) g,   v = second_decay v + (1 - second_decay) g^2,   both corrected
        r, c, f    row means of v, column means of v, and r c / mean(r)                            for bias
        n          = m_0 / sqrt(v + epsilon)
        features   = g, theta, m_j, m_j / sqrt(v), 1 / sqrt(v), g / sqrt(f), 1 / sqrt(r), 1 / sqrt(c)
                     each divided by its root mean square over the variable;
                     tanh((k + 1) / s - 1) for s in TIMES
        (a, b)     = network(features), tanh between the layers
        theta_{k+1} = theta_k - learning_rate (n + scale a) exp(scale b)

    All elements of all variables share one network, so it can train models of any size. Rows and columns are
    the last two axes; for a vector, r, c and f are v. The last layer is initially zero, so that the rule is
    initially Adam with the first of the decays; the others have Glorot-uniform weights of a fixed seed. All
    functions are smooth. The weights are learned as ``network/...``.

    Args:
        learning_rate: positive and finite.
        hidden: widths of the hidden layers, at least one.
        decays: of the momenta, each in [0, 1).
        second_decay: of the second moments, in [0, 1).
        scale: of the outputs of the network, positive; small, so that meta-training changes the updates
            slowly.
        epsilon: positive and finite; added inside the roots.

    Raises:
        ValueError: naming the argument that is out of range.

    Reference: Metz et al. (2020), "Tasks, stability, architecture, and compute: Training more effective
    learned optimizers, and using them to train themselves", section 3 and appendix B, for the features of a
    parameter (without the network over whole variables); Harrison, Metz and Sohl-Dickstein (2022), "A Closer
    Look at Learned Optimization", for the nominal step n; Shazeer and Stern (2018), "Adafactor", for the
    factored moments.
    """

    learning_rate: Hyperparameter
    hidden: Sequence[int] = (32, 32)
    decays: Sequence[float] = (0.9, 0.99, 0.999)
    second_decay: float = 0.999
    scale: float = 0.1
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        require_hyperparameter(POSITIVE, "learning_rate", self.learning_rate)
        require_in(FRACTION, "second_decay", self.second_decay)
        require_positive("scale", self.scale)
        require_positive("epsilon", self.epsilon)
        for name in ("hidden", "decays"):
            given = getattr(self, name)
            if not isinstance(given, Sequence) or isinstance(given, str) or not given:
                raise ValueError(f"{name} must be a list of at least one number, got {given!r}")
            # A list, as from a YAML file, has no hash.
            object.__setattr__(self, name, tuple(given))
        for width in self.hidden:
            require_count("a width in hidden", width)
        for decay in self.decays:
            require_in(FRACTION, "each of decays", decay)

    def settings(self) -> Settings:
        return {"learning_rate": self.learning_rate}

    def learnable(self, parameters: Parameters) -> Structure:
        return {**initial_values(self.settings(), parameters), NAME: self._weights(parameters)}

    def init(self, parameters: Parameters) -> Structure:
        momenta = [tf.nest.map_structure(tf.zeros_like, parameters) for _ in self.decays]
        squares = {key: _moments(tf.zeros_like(parameter)) for key, parameter in parameters.items()}
        return {"momenta": momenta, "squares": squares}

    def update(
        self,
        gradients: Parameters,
        state: Structure,
        parameters: Parameters,
        values: Structure,
        step: int | tf.Tensor,
    ) -> tuple[Parameters, Structure]:
        now = current_values(self.settings(), values, parameters, step)
        moved: Parameters = {}
        momenta: list[Parameters] = [{} for _ in self.decays]
        squares: dict[str, Any] = {}
        for key, parameter in parameters.items():
            gradient, weights = gradients[key], values[NAME]
            point = Point(parameter, gradient, {}, step)
            corrected = []
            for decay, before, after in zip(self.decays, state["momenta"], momenta, strict=True):
                after[key] = mean(before[key], gradient, decay)
                corrected.append(after[key] / (1 - point.power(decay)))
            squares[key] = [
                mean(before, new, self.second_decay)
                for before, new in zip(state["squares"][key], _moments(tf.square(gradient)), strict=True)
            ]
            second = [square / (1 - point.power(self.second_decay)) for square in squares[key]]
            nominal, features = self._features(point, corrected, second)
            direction, magnitude = self._answers(weights, features, step)
            change = (nominal + self.scale * direction) * tf.exp(self.scale * magnitude)
            moved[key] = parameter - now[key]["learning_rate"] * change
        return moved, {"momenta": momenta, "squares": squares}

    def _features(
        self, point: Point, momenta: list[tf.Tensor], second: list[tf.Tensor]
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return the nominal step of one variable and the features of its elements, each of its shape."""
        v = factored = rows = columns = second[0]
        if len(second) > 1:
            rows, columns = second[1][..., None], second[2][..., None, :]
            factored = rows * columns / (tf.reduce_mean(rows, -2, keepdims=True) + self.epsilon)
        inverse, *others = (tf.math.rsqrt(each + self.epsilon) for each in (v, factored, rows, columns))
        steps = [momentum * inverse for momentum in momenta]
        found = [point.gradient, point.parameter, *momenta, *steps, inverse]
        found += [point.gradient * others[0], *(other + tf.zeros_like(v) for other in others[1:])]
        return steps[0], [each * tf.math.rsqrt(SMALL + tf.reduce_mean(tf.square(each))) for each in found]

    def _answers(
        self, weights: Structure, features: list[tf.Tensor], step: int | tf.Tensor
    ) -> list[tf.Tensor]:
        """Return direction and magnitude for each element of a variable."""
        dtype, shape = weights["time"].dtype, features[0].shape
        age = tf.cast(step, dtype) + 1
        times = tf.stack([tf.tanh(age / scale - 1) for scale in TIMES])[:, None]
        # The time features are the same for all elements, so they are a bias.
        columns = affine(weights["layer_0"], tf.cast(as_columns(features), dtype))
        columns += tf.matmul(weights["time"], times)
        for layer in range(1, len(self.hidden) + 1):
            columns = affine(weights[f"layer_{layer}"], tf.tanh(columns))
        return [tf.cast(tf.reshape(row, shape), features[0].dtype) for row in tf.unstack(columns)]

    def _weights(self, parameters: Parameters) -> dict[str, Any]:
        """Return the initial weights of the network; the time features have weights of their own."""
        if not parameters:
            return {}
        dtype, first = float_type(parameters), self.hidden[0]
        widths = [6 + 2 * len(self.decays), *self.hidden]
        layers: dict[str, Any] = {
            f"layer_{layer}": glorot(after, before, dtype, layer)
            for layer, (before, after) in enumerate(itertools.pairwise(widths))
        }
        layers[f"layer_{len(self.hidden)}"] = silent(2, widths[-1], dtype)
        return {**layers, "time": glorot(first, len(TIMES), dtype, len(widths))["kernel"]}


def _moments(square: tf.Tensor) -> list[tf.Tensor]:
    """Return squares of gradients, and their means over rows and columns for matrices."""
    if square.shape.rank < 2:
        return [square]
    return [square, tf.reduce_mean(square, -1), tf.reduce_mean(square, -2)]

"""Gradient descent that updates its learning rate by gradient descent, too."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.rules.hyperparameters import (
    NON_NEGATIVE,
    POSITIVE,
    Hyperparameter,
    Settings,
    current_values,
    initial_values,
    require_hyperparameter,
)
from metalearn.rules.learnable import Learned
from metalearn.rules.networks import float_type
from metalearn.rules.records import Record
from metalearn.types import Parameters, Rule, Structure


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class hypergradient(Record, Rule):
    """Gradient descent that also updates its learning rate, by the gradient with respect to it (SGD-HD).

    ::

        alpha_k     = alpha_{k-1} + hyper_rate g_k . g_{k-1},     alpha_{-1} = learning_rate,  g_{-1} = 0
        theta_{k+1} = theta_k - alpha_k g_k

    since ``d loss(theta_k) / d alpha_{k-1} = - g_k . g_{k-1}``, summed over all variables. The state consists
    of the change of the learning rate so far and the last gradients. The learning rate may become negative.

    Args:
        learning_rate: the initial learning rate, positive and finite.
        hyper_rate: the step size of the updates of the learning rate, at least 0; learned with
            ``per="scalar"`` only. Its unit is rate / loss, so it has to be adjusted to the scale of the loss.

    Raises:
        ValueError: if a number is out of range, or ``hyper_rate`` is learned for each variable or element.

    Reference: Baydin et al. (2018), "Online Learning Rate Adaptation with Hypergradient Descent",
    algorithm 4.
    """

    learning_rate: Hyperparameter
    hyper_rate: Hyperparameter

    def __post_init__(self) -> None:
        require_hyperparameter(POSITIVE, "learning_rate", self.learning_rate)
        require_hyperparameter(NON_NEGATIVE, "hyper_rate", self.hyper_rate)
        if isinstance(self.hyper_rate, Learned) and self.hyper_rate.per != "scalar":
            raise ValueError(
                f"hyper_rate=learned(per={self.hyper_rate.per!r}) has no meaning for a product over all "
                "variables: use per='scalar'"
            )

    def settings(self) -> Settings:
        return {"learning_rate": self.learning_rate, "hyper_rate": self.hyper_rate}

    def learnable(self, parameters: Parameters) -> Structure:
        return initial_values(self.settings(), parameters)

    def init(self, parameters: Parameters) -> Structure:
        last = {key: tf.zeros_like(parameter) for key, parameter in parameters.items()}
        return {"change": tf.zeros([], float_type(parameters)), "last": last}

    def update(
        self,
        gradients: Parameters,
        state: Structure,
        parameters: Parameters,
        values: Structure,
        step: int | tf.Tensor,
    ) -> tuple[Parameters, Structure]:
        now = current_values(self.settings(), values, parameters, step)
        products = [tf.reduce_sum(gradient * state["last"][key]) for key, gradient in gradients.items()]
        hyper_rate = now[next(iter(now))]["hyper_rate"]
        change = state["change"] + hyper_rate * tf.add_n(products)
        moved = {
            key: parameter - (now[key]["learning_rate"] + change) * gradients[key]
            for key, parameter in parameters.items()
        }
        return moved, {"change": change, "last": dict(gradients)}

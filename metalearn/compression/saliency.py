"""Pruning scores from magnitudes, first derivatives and Hessian-gradient products."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from metalearn.autodiff import hvp, value_and_gradient
from metalearn.checks import require_positive
from metalearn.compression.masks import prunable
from metalearn.nest import as_type
from metalearn.types import Parameters


def magnitude(parameters: Parameters) -> Parameters:
    """Return ``|theta|`` of the kernels: scores for :func:`metalearn.compress.masks`.

    Args:
        parameters: theta, usually trained.

    Raises:
        ValueError: if there are no kernels.

    Reference: Han et al. (2015), "Learning both Weights and Connections for Efficient Neural Networks",
    section 3.
    """
    return {key: tf.abs(value) for key, value in prunable(parameters).items()}


def snip(loss: Callable[[Parameters], tf.Tensor], parameters: Parameters) -> Parameters:
    """Return the sensitivity of the loss to each connection of the kernels.

    ::

        |d loss(c * theta) / dc| at c = 1  =  |theta grad loss(theta)|

    Args:
        loss: ``parameters -> scalar``; usually over all training examples, for initial parameters.
        parameters: theta.

    Reference: Lee, Ajanthan and Torr (2019), "SNIP: Single-shot Network Pruning Based on Connection
    Sensitivity", equation 5, without the normalisation, which does not affect masks.
    """
    _, gradient = value_and_gradient(loss, parameters)
    return {key: tf.abs(value * gradient[key]) for key, value in prunable(parameters).items()}


def grasp(
    function: Callable[[Parameters], tf.Tensor],
    loss: Callable[[tf.Tensor], tf.Tensor],
    parameters: Parameters,
    temperature: float = 200.0,
) -> Parameters:
    """Return the contribution of each kernel entry to the squared norm of the gradient.

    ::

        theta * (H g),    g = grad l(theta), H its Hessian,    l(theta) = loss(function(theta) / temperature)

    It is the paper's score with the opposite sign, so that higher scores are kept.

    Args:
        function: ``parameters -> logits``.
        loss: ``logits -> scalar``.
        parameters: theta.
        temperature: the temperature of the logits, positive and finite; a large one avoids saturation.

    Raises:
        ValueError: if the temperature is out of range.

    Reference: Wang, Zhang and Grosse (2020), "Picking Winning Tickets Before Training by Preserving Gradient
    Flow", equation 8, with the temperature of algorithm 2.
    """
    require_positive("temperature", temperature)

    def tempered(theta: Parameters) -> tf.Tensor:
        logits = function(theta)
        return loss(logits / as_type(temperature, logits.dtype))

    _, gradient = value_and_gradient(tempered, parameters)
    product = hvp(tempered, parameters, gradient)
    return {key: value * product[key] for key, value in prunable(parameters).items()}

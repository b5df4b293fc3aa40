"""Uniform quantisation with learnable step sizes and a straight-through estimator of rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.compression.masks import prunable
from metalearn.compression.training import Examples, problem_of_training
from metalearn.problems import BilevelProblem
from metalearn.problems.bilevel import whole_support
from metalearn.types import Loss, Meta, Parameters, Rule


def quantize(values: tf.Tensor, step_size: tf.Tensor, bits: int) -> tf.Tensor:
    """Return values rounded to multiples of a step size that fit into ``bits`` bits.

    ::

        step round(clip(v / step, -2^(bits-1), 2^(bits-1) - 1))

    The derivative of rounding is replaced by 1. The derivative with respect to a value is therefore 1 within
    the range and 0 outside; that with respect to the step size is ``round(v / step) - v / step`` within the
    range, and the clipped multiple outside.

    Args:
        values: floating point.
        step_size: positive, a scalar or a tensor that broadcasts to the values.
        bits: the number of bits, including the sign, at least 2.

    Raises:
        ValueError: if there are fewer bits.

    Reference: Esser et al. (2020), "Learned Step Size Quantization", equations 1 to 3.
    """
    low, high = levels(bits)
    scaled = tf.clip_by_value(values / step_size, low, high)
    return step_size * (scaled + tf.stop_gradient(tf.round(scaled) - scaled))


def first_step_sizes(parameters: Parameters, bits: int) -> Parameters:
    """Return step sizes ``2 mean |theta| / sqrt(2^(bits-1) - 1)`` of the kernels, a scalar each.

    Args:
        parameters: theta, by key.
        bits: the number of bits of an entry, including the sign, at least 2.

    Raises:
        ValueError: if there are fewer than 2 bits.

    Reference: Esser et al. (2020), section 2.1.
    """
    high = levels(bits)[1]
    return {
        key: 2 * tf.reduce_mean(tf.abs(value)) / math.sqrt(high)
        for key, value in prunable(parameters).items()
    }


def quantization_problem(
    model: keras.Model,
    parameters: Parameters,
    *,
    bits: int,
    rule: str | Rule,
    steps: int,
    loss: str | Loss = "cross_entropy",
    batch: Examples = whole_support,
    reported: Sequence[str | Loss] = ("accuracy",),
) -> BilevelProblem:
    """Return the bilevel problem of learning the step sizes of a model with quantised kernels.

    ::

        theta_0 = parameters
        inner loss = loss(Q(theta, phi); support),   outer loss = loss(Q(theta_K, phi); query)

    Q quantises the kernels with :func:`metalearn.compress.quantize` and the step sizes
    ``exp(phi["log_step"])``, one scalar for each; :func:`metalearn.compress.first_step_sizes` returns initial
    ones. Training updates the unrounded parameters with straight-through gradients.

    Args:
        model: the model, which is called in inference mode.
        parameters: the parameters from which training continues.
        bits: the number of bits of a kernel's entry, including the sign, at least 2.
        rule: the update rule of the training.
        steps: K.
        loss: ``(targets, outputs) -> scalar``.
        batch: ``(task, k) -> (inputs, targets)``.
        reported: the metrics of the query.

    Raises:
        ValueError: if a number is out of range.

    Reference: Esser et al. (2020), "Learned Step Size Quantization", section 2, which minimises the training
    loss with respect to step sizes.
    """
    levels(bits)

    def view(theta: Parameters, phi: Meta) -> Parameters:
        steps = phi["log_step"]
        return {
            key: quantize(value, tf.exp(steps[key]), bits) if key in steps else value
            for key, value in theta.items()
        }

    return problem_of_training(model, parameters, rule, steps, loss, batch, reported, view=view)


def levels(bits: int) -> tuple[float, float]:
    """Return the smallest and the largest multiple of the step size."""
    require_count("bits", bits, minimum=2)
    return -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1

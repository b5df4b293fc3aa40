"""Uniform quantisation with step sizes that can be learned: rounding is straight-through."""

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
    """Return values rounded to multiples of a step size, of so many bits with the sign.

    ::

        step round(clip(v / step, -2^(bits-1), 2^(bits-1) - 1))

    The derivative of the rounding is taken as 1. So that with respect to a value is 1 within the range and
    0 beyond; that with respect to the step size is ``round(v / step) - v / step`` within the range and the
    range's end beyond.

    Args:
        values: floating point.
        step_size: positive, a scalar or broadcasting against the values.
        bits: at least 2.

    Raises:
        ValueError: if there are fewer bits.

    Reference: Esser et al. (2020), "Learned Step Size Quantization", equations 1 to 3.
    """
    low, high = levels(bits)
    scaled = tf.clip_by_value(values / step_size, low, high)
    return step_size * (scaled + tf.stop_gradient(tf.round(scaled) - scaled))


def first_step_sizes(parameters: Parameters, bits: int) -> Parameters:
    """Return step sizes ``2 mean |theta| / sqrt(2^(bits-1) - 1)`` of the kernels, a scalar each.

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
    """Return the problem of step sizes that a model with quantised kernels trains best with.

    ::

        theta_0 = parameters
        inner loss = loss(Q(theta, phi); support),   outer loss = loss(Q(theta_K, phi); query)

    Q quantises the kernels by :func:`metalearn.compress.quantize` with step sizes ``exp(phi["log_step"])``, a
    scalar each; :func:`metalearn.compress.first_step_sizes` gives a start. Training moves the parameters
    that are rounded, through the rounding.

    Args:
        model: in inference mode.
        parameters: that training goes on from.
        bits: of a kernel's entry with its sign, at least 2.
        rule: of the training.
        steps: K.
        loss: ``(targets, outputs) -> scalar``.
        batch: ``(task, k) -> (inputs, targets)``.
        reported: metrics of the query.

    Raises:
        ValueError: if a number is out of range.

    Reference: Esser et al. (2020), "Learned Step Size Quantization", section 2, whose step sizes descend on
    the training loss.
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

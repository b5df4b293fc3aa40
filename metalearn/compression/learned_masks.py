"""Masks that are learned from the held-out loss of a model that is trained under them."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from metalearn.checks import require_finite
from metalearn.compression.masks import masked, require_sparsity
from metalearn.compression.training import Examples, problem_of_training
from metalearn.nest import ravel
from metalearn.problems import BilevelProblem
from metalearn.problems.bilevel import whole_support
from metalearn.types import Loss, Meta, Parameters, Rule


def mask_problem(
    model: keras.Model,
    parameters: Parameters,
    *,
    sparsity: float,
    rule: str | Rule,
    steps: int,
    loss: str | Loss = "cross_entropy",
    strength: float = 1.0,
    batch: Examples = whole_support,
    reported: Sequence[str | Loss] = ("accuracy",),
) -> BilevelProblem:
    """Return the bilevel problem of learning the masks of a model.

    ::

        theta_0 = parameters,   inner loss = loss(m * theta; support),   m = sigmoid(phi["scores"])
        outer loss = loss(m * theta_K; query) + strength max(mean(m) - (1 - sparsity), 0)

    phi is ``{"scores": ...}`` of the kernels, initially for example ``tf.fill(shape, 2.0)``.
    :func:`metalearn.compress.masks` converts learned scores to masks of zeros and ones.

    Args:
        model: the model, which is called in inference mode.
        parameters: the parameters from which training continues.
        sparsity: the fraction of the kernels' entries to remove, at least 0 and below 1.
        rule: the update rule of the training.
        steps: K.
        loss: ``(targets, outputs) -> scalar``.
        strength: the strength of the penalty for exceeding the budget, at least 0.
        batch: ``(task, k) -> (inputs, targets)``.
        reported: the metrics of the query.

    Raises:
        ValueError: if a number is out of range.

    Reference: Zhang et al. (2022), "Advancing Model Pruning via Bi-level Optimization", equation 1, with
    a penalty instead of its hard threshold.
    """
    require_sparsity(sparsity)
    require_finite("strength", strength)
    if strength < 0:
        raise ValueError(f"strength must be at least 0, got {strength}")

    def view(theta: Parameters, phi: Meta) -> Parameters:
        return masked(theta, tf.nest.map_structure(tf.sigmoid, phi["scores"]))

    def budget(phi: Meta) -> tf.Tensor:
        share = tf.reduce_mean(tf.sigmoid(ravel(phi["scores"])[0]))
        return strength * tf.nn.relu(share - (1 - sparsity))

    return problem_of_training(
        model, parameters, rule, steps, loss, batch, reported, view=view, penalty=budget
    )

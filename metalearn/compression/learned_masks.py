"""Masks that are learned by what a model trained under them makes of held-out data."""

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
    """Return the problem of masks that a model trains best with.

    ::

        theta_0 = parameters,   inner loss = loss(m * theta; support),   m = sigmoid(phi["scores"])
        outer loss = loss(m * theta_K; query) + strength max(mean(m) - (1 - sparsity), 0)

    phi is ``{"scores": ...}`` of the kernels, ``tf.fill(shape, 2.0)`` for a start. What was learned becomes a
    mask of zeros and ones by :func:`metalearn.compress.masks`.

    Args:
        model: in inference mode.
        parameters: that training goes on from.
        sparsity: share of the kernels' entries that go, at least 0 and below 1.
        rule: of the training.
        steps: K.
        loss: ``(targets, outputs) -> scalar``.
        strength: of the budget's penalty, at least 0.
        batch: ``(task, k) -> (inputs, targets)``.
        reported: metrics of the query.

    Raises:
        ValueError: if a number is out of range.

    Reference: Zhang et al. (2022), "Advancing Model Pruning via Bi-level Optimization", equation 1, with
    a penalty in place of its hard threshold.
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

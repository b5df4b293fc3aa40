"""Distillation with a teacher's soft targets, whose temperature and weight can be learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from metalearn import losses
from metalearn.compression.training import Examples, problem_of_training
from metalearn.problems import BilevelProblem
from metalearn.problems.bilevel import whole_support
from metalearn.types import Loss, Meta, Parameters, Rule


def soft_target_loss(
    targets: tf.Tensor,
    outputs: tf.Tensor,
    teacher: tf.Tensor,
    temperature: tf.Tensor,
    weight: tf.Tensor,
) -> tf.Tensor:
    """Return a weighted mean of the cross-entropies with the teacher's soft targets and with the labels.

    ::

        weight T^2 H(softmax(teacher / T), softmax(outputs / T)) + (1 - weight) H(targets, softmax(outputs))

    The factor T^2 keeps the size of the first term's gradient independent of T. Derivatives of all orders are
    exact, including those with respect to T and the weight.

    Args:
        targets: classes ``[N]``.
        outputs: logits ``[N, C]``.
        teacher: logits ``[N, C]``.
        temperature: T, positive.
        weight: the weight of the soft targets, from 0 to 1.

    Reference: Hinton, Vinyals and Dean (2015), "Distilling the Knowledge in a Neural Network", section 2.
    """
    soft = losses.cross_entropy(tf.nn.softmax(teacher / temperature), outputs / temperature)
    hard = losses.cross_entropy(targets, outputs)
    return weight * temperature**2 * soft + (1 - weight) * hard


def soft_target_problem(
    model: keras.Model,
    parameters: Parameters,
    teacher: Callable[[tf.Tensor], tf.Tensor],
    *,
    rule: str | Rule,
    steps: int,
    batch: Examples = whole_support,
    reported: Sequence[str | Loss] = ("accuracy",),
) -> BilevelProblem:
    """Return the bilevel problem of learning the temperature and weight of distillation.

    ::

        theta_0 = parameters
        inner loss = soft_target_loss(support; T, w),   outer loss = cross-entropy(query)

    phi is ``{"log_temperature": log T, "weight": logit of w}``, scalars; zeros mean T = 1 and w = 1/2. See
    :func:`metalearn.compress.soft_target_loss`.

    Args:
        model: the student, which is called in inference mode.
        parameters: the initial parameters of the student.
        teacher: ``inputs -> logits``.
        rule: the update rule of the training.
        steps: K.
        batch: ``(task, k) -> (inputs, targets)``.
        reported: the metrics of the query.

    Raises:
        ValueError: if a number is out of range.

    Reference: Hinton, Vinyals and Dean (2015), "Distilling the Knowledge in a Neural Network", section 2.
    """

    def soft(phi: Meta, inputs: tf.Tensor, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        temperature, weight = tf.exp(phi["log_temperature"]), tf.sigmoid(phi["weight"])
        return soft_target_loss(targets, outputs, teacher(inputs), temperature, weight)

    return problem_of_training(model, parameters, rule, steps, "cross_entropy", batch, reported, inner=soft)

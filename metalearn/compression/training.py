"""The bilevel problem of a model's training, in which phi modifies the parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from metalearn import losses, metrics, rules
from metalearn.nn import functional
from metalearn.problems import BilevelProblem
from metalearn.types import Batch, Loss, Meta, Parameters, Rule, Structure, Task

Examples: TypeAlias = Callable[[Task, Any], Structure]
"""``(task, k) -> (inputs, targets)``: the data of step k of the training."""


def problem_of_training(
    model: keras.Model,
    parameters: Parameters,
    rule: str | Rule,
    steps: int,
    loss: str | Loss,
    batch: Examples,
    reported: Sequence[str | Loss],
    view: Callable[[Parameters, Meta], Parameters] = lambda theta, phi: theta,
    inner: Callable[[Meta, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
    penalty: Callable[[Meta], tf.Tensor] | None = None,
) -> BilevelProblem:
    """Return the bilevel problem of a model's training.

    Args:
        model: the model, which is called in inference mode.
        parameters: the initial parameters of every task.
        rule: the update rule of the training.
        steps: K.
        loss: the loss of both levels, ``(targets, outputs) -> scalar``.
        batch: the data of a step.
        reported: the metrics of the query.
        view: ``(theta, phi) -> parameters``, with which the model is called.
        inner: ``(phi, inputs, targets, outputs) -> scalar``, the inner loss if it is not ``loss``.
        penalty: ``phi -> scalar``, added to the outer loss.

    Raises:
        ValueError: if the parameters are not those of the model.
    """
    objective, named = losses.get(loss), metrics.named(reported)
    expected = functional.parameters(model)
    if set(parameters) != set(expected):
        raise ValueError(f"parameters are {sorted(parameters)}, but the model has {sorted(expected)}")

    def inner_loss(theta: Parameters, phi: Meta, examples: Batch, state: Structure) -> tf.Tensor:
        inputs, targets = examples
        outputs = functional.apply(model, view(theta, phi), inputs)
        return objective(targets, outputs) if inner is None else inner(phi, inputs, targets, outputs)

    def outer_loss(theta: Parameters, phi: Meta, task: Task, state: Structure) -> Any:
        inputs, targets = task.query
        outputs = functional.apply(model, view(theta, phi), inputs)
        total = objective(targets, outputs)
        if penalty is not None:
            total = total + penalty(phi)
        return total, {name: metric(targets, outputs) for name, metric in named.items()}

    return BilevelProblem(
        start=lambda phi, task: dict(parameters),
        inner_loss=inner_loss,
        outer_loss=outer_loss,
        rule=rules.get(rule),
        steps=steps,
        batch=batch,
    )

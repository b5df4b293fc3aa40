"""The protocol of estimators, and their common checks and results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import tensorflow as tf

from metalearn.execution.mean import mean_over_tasks
from metalearn.inner_loop import counted, number_of_tasks, numbered
from metalearn.nest import names
from metalearn.types import Inner, Meta, MetaGradient, Problem, Seed, Structure, Task

Carry: TypeAlias = Structure
"""The state of an estimator between calls: any nest of tensors, empty for most."""


class Estimator(Protocol):
    """An estimator of the meta-gradient of any bilevel problem.

    Estimators are frozen records: estimators with equal settings are equal, and ``repr`` is valid Python
    code. A subclass inherits the defaults below.

    Attributes:
        exact: whether it is the derivative of the meta-loss, up to rounding.
        second_order: whether it needs second derivatives of the inner loss. A learner then rejects models
            with layers whose second derivatives TensorFlow gets wrong
            (:func:`metalearn.layers.inexact_layers`).
        weighs_steps: whether it supports a meta-loss of several inner steps (``Problem.step_weights``).
        continues: whether it supports tasks that continue an inner loop (``Task.start``).
        residuals: the names of its entries in ``MetaGradient.residual``.
    """

    exact: bool = False
    second_order: bool = True
    weighs_steps: bool = False
    continues: bool = True
    residuals: tuple[str, ...] = ()

    def require(self, problem: Problem, phi: Meta, task: Task) -> None:
        """Raise ValueError if the estimator cannot differentiate the problem, naming both and the remedy.

        Args:
            problem: the bilevel problem.
            phi: the meta-parameters, of which only structure, shapes and types are used.
            task: one task, or an empty one if none is known yet.
        """
        require_step_weights(self, problem)

    def init(self, problem: Problem, phi: Meta, tasks: Task) -> Carry:
        """Return the carry of the first call."""
        return ()

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the meta-gradient of a meta-batch, and the carry of the next call.

        Args:
            problem: the bilevel problem.
            phi: the meta-parameters.
            tasks: leaves ``[T, ...]``.
            carry: the carry from :meth:`init` or the previous call.
            seed: the seed of random numbers.

        Raises:
            ValueError: if the estimator rejects the problem, or no gradient reaches a leaf of ``phi``.
        """
        ...


def require_step_weights(estimator: Estimator, problem: Problem) -> None:
    """Raise ValueError if the problem has step weights and the estimator does not support them."""
    if problem.step_weights is not None and not estimator.weighs_steps:
        raise ValueError(
            "step_weights define a meta-loss of several inner steps, but the estimator differentiates only "
            "that of the last: omit step_weights or use the estimator checkpointed, unrolled, truncated "
            "or first_order"
        )


def require_estimator(name: str, candidate: object) -> None:
    """Raise ValueError unless ``candidate`` is an estimator."""
    if isinstance(candidate, type) or not all(
        callable(getattr(candidate, method, None)) for method in ("require", "init", "__call__")
    ):
        raise ValueError(
            f"{name} must be an estimator like metalearn.estimators.checkpointed(), got {candidate!r}"
        )


def prepared(estimator: Estimator, problem: Problem, phi: Meta, tasks: Task) -> Task:
    """Return tasks whose number is known, after checking that the estimator accepts the problem."""
    tasks = counted(tasks)
    number_of_tasks(tasks)
    estimator.require(problem, phi, tf.nest.map_structure(lambda leaf: leaf[0], tasks))
    if isinstance(tasks.start, Inner) and not estimator.continues:
        raise ValueError(
            f"the estimator {type(estimator).__name__} does not support an inner loop that is continued, "
            "because it needs the loop's start. Omit Task.start (carry), or use the "
            "estimator checkpointed"
        )
    return tasks


def average(
    problem: Problem,
    tasks: Task,
    losses: tf.Tensor,
    gradients: Meta,
    inner: Inner,
    metrics: dict[str, tf.Tensor],
    residual: dict[str, tf.Tensor] | None = None,
    *,
    mean: Meta | None = None,
) -> MetaGradient:
    """Return the meta-gradient of a meta-batch, given the results of each task, ``[T, ...]``.

    ``mean`` is the mean of the gradients, if it is already known.
    """
    return MetaGradient(
        loss=losses,
        gradient=mean_over_tasks(gradients) if mean is None else mean,
        per_task=gradients,
        inner=numbered(inner, tasks, problem.steps),
        metrics=metrics,
        residual=residual or {},
    )


def leaves_used(function: Callable[[Meta], Any], phi: Meta) -> list[str]:
    """Return the names of the leaves of phi that ``function(phi)`` depends on differentiably."""
    with tf.GradientTape() as tape:
        tape.watch(phi)
        outputs = [output for output in tf.nest.flatten(function(phi)) if tf.is_tensor(output)]
    gradients = tape.gradient(outputs, tf.nest.flatten(phi)) if outputs else []
    return [name for name, gradient in zip(names(phi), gradients, strict=False) if gradient is not None]

"""What an estimator is, what it may refuse, and what all of them end with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import tensorflow as tf

from metalearn.execution.mean import mean_over_tasks
from metalearn.inner_loop import counted, number_of_tasks, numbered
from metalearn.nest import names
from metalearn.types import Inner, Meta, MetaGradient, Problem, Seed, Structure, Task

Carry: TypeAlias = Structure
"""What an estimator keeps from call to call: any nest of tensors, empty for most."""


class Estimator(Protocol):
    """An estimator of the meta-gradient of any bilevel problem.

    Estimators are frozen records: equal settings are equal, and the ``repr`` can be pasted back. A record
    that names this class as its base inherits the defaults below.

    Attributes:
        exact: whether it promises the derivative of the meta-loss itself, up to rounding.
        second_order: whether it takes second derivatives of the inner loss. A learner then refuses models
            with layers whose second derivatives TensorFlow gets wrong
            (:func:`metalearn.layers.inexact_layers`).
        weighs_steps: whether it differentiates a meta-loss that counts several inner steps
            (``Problem.step_weights``).
        continues: whether it has a meaning for tasks that continue an inner loop (``Task.start``).
        residuals: names of what it reports in ``MetaGradient.residual``.
    """

    exact: bool = False
    second_order: bool = True
    weighs_steps: bool = False
    continues: bool = True
    residuals: tuple[str, ...] = ()

    def require(self, problem: Problem, phi: Meta, task: Task) -> None:
        """Raise ValueError if the problem cannot be differentiated, naming both and the remedy.

        Args:
            problem: the bilevel problem.
            phi: structure, shapes and types count, not values.
            task: one task, or an empty one where none is known yet.
        """
        require_step_weights(self, problem)

    def init(self, problem: Problem, phi: Meta, tasks: Task) -> Carry:
        """Return what is carried into the first call."""
        return ()

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the meta-gradient of a meta-batch, and what is carried into the next call.

        Args:
            problem: the bilevel problem.
            phi: the meta-parameters.
            tasks: leaves ``[T, ...]``.
            carry: from :meth:`init` or the call before.
            seed: of what is drawn at random.

        Raises:
            ValueError: if the estimator refuses the problem, or no gradient reaches a leaf of ``phi``.
        """
        ...


def require_step_weights(estimator: Estimator, problem: Problem) -> None:
    """Raise ValueError if the problem weighs inner steps and the estimator cannot."""
    if problem.step_weights is not None and not estimator.weighs_steps:
        raise ValueError(
            "step_weights make a meta-loss of several inner steps, the estimator differentiates that of "
            "the last alone: leave step_weights out or use the estimator checkpointed, unrolled, truncated "
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
    """Return tasks whose number is known, having asked the estimator about the problem."""
    tasks = counted(tasks)
    number_of_tasks(tasks)
    estimator.require(problem, phi, tf.nest.map_structure(lambda leaf: leaf[0], tasks))
    if isinstance(tasks.start, Inner) and not estimator.continues:
        raise ValueError(
            f"the estimator {type(estimator).__name__} has no meaning for an inner loop that is continued: "
            "its gradient is that of where the loop starts. Leave Task.start (carry) out, or use the "
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
    """Return the meta-gradient of a batch, given what was found of each task, ``[T, ...]``.

    ``mean`` is that of the gradients, if it is known.
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

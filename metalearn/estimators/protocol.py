"""What an estimator is, what it may refuse, and what all of them begin and end with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from metalearn.nest import names
from metalearn.problems.bilevel import BilevelProblem
from metalearn.types import Meta, MetaGradient, Parameters, Seed, Structure, Task


def _accept(problem: BilevelProblem, meta: Meta) -> None:
    """Refuse nothing."""


@dataclasses.dataclass(frozen=True)
class Estimator:
    """An estimator of the meta-gradient, called as ``estimator(problem, meta, tasks, seed=(0, 0))``.

    Attributes:
        estimate: ``(problem, meta, tasks) -> MetaGradient``; leaves of ``tasks`` are ``[T, N, ...]``. If
            ``seeded`` it also takes ``seed``.
        check: ``(problem, meta) -> None``; raises ValueError, naming both and the remedy, if the estimator
            cannot differentiate the problem with respect to a leaf of ``meta``. Of ``meta`` it may use
            structure, shapes and types, not values.
        seeded: whether ``estimate`` draws random numbers.
        exact: whether it promises the derivative of the meta-loss itself, up to rounding.
        second_order: whether it takes second derivatives of the inner loss. A learner then refuses models
            with layers whose second derivatives TensorFlow gets wrong
            (:func:`metalearn.layers.inexact_layers`).
        weighs_steps: whether it differentiates a meta-loss that counts several inner steps
            (``BilevelProblem.step_weights``).
    """

    estimate: Callable[..., MetaGradient]
    check: Callable[[BilevelProblem, Meta], None] = _accept
    seeded: bool = False
    exact: bool = False
    second_order: bool = True
    weighs_steps: bool = False

    def require(self, problem: BilevelProblem, meta: Meta) -> None:
        """Raise ValueError if the estimator cannot differentiate the problem."""
        if problem.step_weights is not None and not self.weighs_steps:
            raise ValueError(
                "step_weights make a meta-loss of several inner steps, the estimator differentiates that of "
                "the last alone: leave step_weights out or use the estimator mixed_mode, unrolled, truncated "
                "or first_order"
            )
        self.check(problem, meta)

    # Nothing below branches on a tensor in Python: converting it would only cost time.
    @tf.autograph.experimental.do_not_convert
    def __call__(
        self, problem: BilevelProblem, meta: Meta, tasks: Task, *, seed: Seed = (0, 0)
    ) -> MetaGradient:
        """Return the meta-loss of each task and the meta-gradient; without ``seeded`` the seed is not used.

        Raises:
            ValueError: if the estimator refuses the problem, or no gradient reaches a leaf of ``meta``.
        """
        self.require(problem, meta)
        if self.seeded:
            return self.estimate(problem, meta, tasks, seed=seed)
        return self.estimate(problem, meta, tasks)


def as_estimator(candidate: Callable[..., MetaGradient]) -> Estimator:
    """Return an estimator as it is, and any other callable ``(problem, meta, tasks)`` as one."""
    return candidate if isinstance(candidate, Estimator) else Estimator(candidate)


def average(losses: tf.Tensor, gradients: Meta, adapted: Parameters) -> MetaGradient:
    """Return the meta-gradient of a batch, given each task's loss, gradient and theta_K."""
    mean = tf.nest.map_structure(lambda leaf: tf.reduce_mean(leaf, axis=0), gradients)
    return MetaGradient(loss=losses, gradient=mean, per_task=gradients, adapted=adapted)


def leaves_used(function: Callable[[Meta], Structure], meta: Meta) -> list[str]:
    """Return the names of the leaves of phi that ``function(phi)`` depends on differentiably."""
    with tf.GradientTape() as tape:
        tape.watch(meta)
        outputs = [output for output in tf.nest.flatten(function(meta)) if tf.is_tensor(output)]
    gradients = tape.gradient(outputs, tf.nest.flatten(meta)) if outputs else []
    return [name for name, gradient in zip(names(meta), gradients, strict=False) if gradient is not None]

"""The bilevel problem; every algorithm of this package is a configuration of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from metalearn import rules
from metalearn.checks import require_count
from metalearn.execution.task_map import require_mapping
from metalearn.types import Inner, Meta, Parameters, Rule, Structure, Task, TaskMapping


class Noisy(NamedTuple):
    """A task's support with the random numbers of its inner loop (``BilevelLearner.noise``)."""

    examples: Structure
    noise: Structure


def whole_support(task: Task, step: int | tf.Tensor) -> Structure:
    """Return the whole support of a task, for every inner step."""
    return task.support


def values_in_phi(phi: Meta) -> Structure:
    """Return ``phi["rule"]``, or nothing if phi has no such part."""
    return phi["rule"] if isinstance(phi, dict) and "rule" in phi else {}


@dataclasses.dataclass(frozen=True)
class BilevelProblem:
    """A bilevel problem whose inner problem is solved by ``steps`` updates: functions of one task.

    ::

        theta_0, m_0         = start(phi, task)
        l_k, m_{k+1}         = inner_loss(theta_k, phi, batch(task, k), m_k)
        theta_{k+1}, s_{k+1} = rule.update(grad_theta l_k, s_k, theta_k, hyperparameters(phi), k)
        meta-loss, metrics   = outer_loss(theta_K, phi, task, m_K)

    With ``step_weights``, the meta-loss is the sum over k of
    ``step_weights[k] outer_loss(theta_k, phi, task, m_k)``.

    Attributes:
        start: ``(phi, task) -> theta_0``, a dict of tensors; or an :class:`metalearn.types.Inner` of
            theta_0 with the initial state of the model or of the rule.
        inner_loss: ``(theta, phi, batch, model state) -> scalar``, or ``(scalar, next model state)``.
        outer_loss: ``(theta, phi, task, model state) -> scalar``, or ``(scalar, {name: scalar})``.
        rule: the inner update rule.
        steps: K, at least 0.
        batch: ``(task, k) -> batch``, the data of step k: the whole support by default, a slice of it,
            examples gathered by index, or noise. k continues to count if an inner loop is continued.
        hyperparameters: ``phi -> values`` for ``rule.update``; ``phi["rule"]`` by default.
        batches: the number of batches over which the complete inner loss is the mean; at least 1.
        mapping: how functions of one task are mapped over tasks, see
            :func:`metalearn.execution.task_map.map_tasks`.
        solved: whether ``start`` computes parameters in closed form for every task.
        step_weights: ``[K+1]``, the weights of theta_0, ..., theta_K in the meta-loss; None for theta_K only.

    Raises:
        ValueError: if a number is out of range, ``mapping`` is unknown, a function is not callable, or there
            are not K + 1 ``step_weights``.

    Example:
        Learning the strength of a penalty from the loss on held-out data::

            problem = ml.BilevelProblem(
                start=lambda phi, task: {"w": tf.zeros([20])},
                inner_loss=lambda theta, phi, data, model: mse(theta, data) + tf.exp(phi) * square(theta),
                outer_loss=lambda theta, phi, task, model: mse(theta, task.query),
                rule=ml.rules.sgd(0.1),
                steps=100,
            )

    Reference: Franceschi et al. (2018), "Bilevel Programming for Hyperparameter Optimization and
    Meta-Learning", equations 3 and 4.
    """

    start: Callable[[Meta, Task], Inner | Parameters]
    inner_loss: Callable[[Parameters, Meta, Structure, Structure], Any]
    outer_loss: Callable[[Parameters, Meta, Task, Structure], Any]
    rule: Rule
    steps: int
    batch: Callable[[Task, Any], Structure] = whole_support
    hyperparameters: Callable[[Meta], Structure] = values_in_phi
    batches: int = 1
    mapping: TaskMapping = "auto"
    solved: bool = False
    step_weights: tf.Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", rules.get(self.rule))
        require_count("steps", self.steps, minimum=0)
        require_count("batches", self.batches)
        require_mapping(self.mapping)
        for name in ("start", "inner_loss", "outer_loss", "batch", "hyperparameters"):
            if not callable(getattr(self, name)):
                raise ValueError(f"{name} must be a function, got {getattr(self, name)!r}")
        if self.step_weights is not None:
            shape = tf.convert_to_tensor(self.step_weights).shape
            if not shape.is_compatible_with([self.steps + 1]):
                raise ValueError(
                    f"step_weights must have the shape [{self.steps + 1}], one for each of theta_0, ..., "
                    f"theta_K with steps={self.steps}, got {shape}"
                )

"""Two-player problems whose outer objective is unrolled through future steps of the inner player."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from metalearn import rules
from metalearn.inner_loop import adapted, inner_gradient
from metalearn.problems.bilevel import BilevelProblem
from metalearn.types import Inner, Meta, Parameters, Rule, Structure, Task


class Ahead(NamedTuple):
    """The state of the rule after the step, and the step's number: where the unrolled steps start."""

    rule: Structure
    step: tf.Tensor


def unrolled_players(
    start: Callable[[], Parameters],
    inner_loss: Callable[[Parameters, Meta, Structure], tf.Tensor],
    outer_loss: Callable[[Parameters, Meta, Structure], tf.Tensor],
    rule: str | Rule,
    unrolled: int,
    report: Callable[[Meta, Task], dict[str, tf.Tensor]] = lambda phi, task: {},
) -> BilevelProblem:
    """Return the problem of an inner player that takes one step, and an outer one with an unrolled objective.

    ::

        theta_1 = rule.update(grad inner_loss(theta_0, phi; support), ...)       phi held constant
        L       = outer_loss(theta_1^(K), phi; query),   theta_1^(0) = theta_1
        theta_1^(k+1) = rule.update(grad inner_loss(theta_1^(k), phi; query), ...)

    The gradient passes through the K unrolled steps, but not through the step that is taken: K = 0 is
    alternating descent. ``MetaTrainer(..., carry="forever")`` keeps theta and the rule's state from iteration
    to iteration; the unrolled steps start from both.

    Args:
        start: returns theta_0 of the first iteration.
        inner_loss, outer_loss: ``(theta, phi, data) -> scalar``.
        rule: the update rule of the inner player, without learned hyperparameters.
        unrolled: K, at least 0.
        report: ``(phi, task) -> named scalars``.

    Raises:
        ValueError: if K is negative, or the rule has learned hyperparameters.

    Reference: Metz et al. (2017), "Unrolled Generative Adversarial Networks", section 2.2, where the unrolled
    steps start before that step.
    """
    rule = _given(rules.get(rule), start())
    ahead = BilevelProblem(
        start=lambda phi, task: start(),
        inner_loss=lambda theta, phi, data, model: inner_loss(theta, phi, data),
        outer_loss=lambda theta, phi, task, model: outer_loss(theta, phi, task.query),
        rule=rule,
        steps=unrolled,
        hyperparameters=lambda phi: {},
    )

    def begin(phi: Meta, task: Task) -> Inner:
        return Inner(start(), model=Ahead(rule.init(start()), tf.constant(0)))

    def taken(theta: Parameters, phi: Meta, data: Structure, at: Ahead) -> tuple[tf.Tensor, Ahead]:
        fixed = tf.nest.map_structure(tf.stop_gradient, phi)
        loss, _, gradients = inner_gradient(ahead, theta, fixed, data, ())
        # The step itself again: an outer loss sees a model's state, and not the rule's.
        _, state = rule.update(gradients, at.rule, theta, {}, at.step)
        return loss, Ahead(state, at.step + 1)

    def seen(theta: Parameters, phi: Meta, task: Task, at: Ahead) -> Any:
        theta, state = tf.nest.map_structure(tf.stop_gradient, (theta, at.rule))
        later = adapted(ahead, phi, Task(task.query, (), Inner(theta, state, (), at.step)))
        return outer_loss(later, phi, task.query), report(phi, task)

    return dataclasses.replace(ahead, start=begin, inner_loss=taken, outer_loss=seen, steps=1)


def _given(rule: Rule, theta: Parameters) -> Rule:
    """Return the rule; raise ValueError if it has learned hyperparameters."""
    if tf.nest.flatten(rule.learnable(theta)):
        raise ValueError(
            f"the rule {rule!r} has learned hyperparameters, but no player can learn those of the other: use "
            "numbers"
        )
    return rule

"""Influence balancing: a parameter whose short-term and long-term effects on the loss have opposite signs."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_finite
from metalearn.estimators import Estimator, persistent_evolution
from metalearn.problems.bilevel import BilevelProblem
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.types import Parameters, Rule, Structure

PLUS, MINUS = 10, 13
"""The numbers of components of the system that theta increases and decreases."""


@dataclasses.dataclass(frozen=True)
class LinearSystem(Rule):
    """``s <- A s + theta b``, A with 1/2 on the diagonal and above it, b of 1 (10 times) and -1 (13)."""

    def init(self, parameters: Parameters) -> Structure:
        return {}

    def learnable(self, parameters: Parameters) -> Structure:
        return {}

    def update(
        self,
        gradients: Parameters,
        state: Structure,
        parameters: Parameters,
        values: Structure,
        step: int | tf.Tensor,
    ) -> tuple[Parameters, Structure]:
        s = parameters["s"]
        above = tf.concat([s[1:], tf.zeros_like(s[:1])], 0)
        signs = tf.constant([1.0] * PLUS + [-1.0] * MINUS, s.dtype)
        return {"s": (s + above) / 2 + values * signs}, state


def influence_balancing(
    steps: int = 1, initial: float = 0.5, estimator: Estimator | None = None
) -> BilevelLearner:
    """Return a learner of theta, whose optimum is -1/6; short truncation windows make it diverge.

    ::

        s_{k+1} = A s_k + theta b,   s_0 = 0,      outer loss = (s_K[0] - 1)^2 / 2

    With constant theta, ``s[0]`` converges to ``-6 theta``, while one step with a larger theta increases it.

    Args:
        steps: the number of steps of a window, at least 1.
        initial: the initial theta.
        estimator: ``persistent_evolution(0.1, 500)`` by default; for truncated windows an estimator that
            differentiates, with ``carry="forever"`` in ``MetaTrainer``.

    Raises:
        ValueError: if ``initial`` is not finite.

    Reference: Tallec and Ollivier (2017), "Unbiasing Truncated Backpropagation Through Time", section 6.1;
    Vicol, Metz and Sohl-Dickstein (2021), section 5.1.
    """
    require_finite("initial", initial)
    problem = BilevelProblem(
        start=lambda theta, task: {"s": tf.zeros([PLUS + MINUS], theta.dtype)},
        # The update ignores the gradient, so any loss that depends on s is suitable.
        inner_loss=lambda inner, theta, batch, model: tf.reduce_sum(inner["s"]),
        outer_loss=lambda inner, theta, task, model: tf.square(inner["s"][0] - 1) / 2,
        rule=LinearSystem(),
        steps=steps,
        hyperparameters=lambda theta: theta,
    )
    return BilevelLearner(problem, estimator or persistent_evolution(0.1, 500), tf.constant(float(initial)))

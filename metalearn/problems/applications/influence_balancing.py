"""Influence balancing: a parameter that moves the loss one way at once, and the other way in the end."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_finite
from metalearn.estimators import Estimator, persistent_evolution
from metalearn.problems.bilevel import BilevelProblem
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.types import Parameters, Rule, Structure

PLUS, MINUS = 10, 13
"""Components of the system that theta moves up and down."""


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
    """Return the learner of theta, whose optimum is -1/6, where short windows run away from it.

    ::

        s_{k+1} = A s_k + theta b,   s_0 = 0,      outer loss = (s_K[0] - 1)^2 / 2

    With theta held still ``s[0]`` ends at ``-6 theta``; at once, one step of a larger theta moves it up.

    Args:
        steps: of a window, at least 1.
        initial: theta at first.
        estimator: ``persistent_evolution(0.1, 500)`` unless given; for truncated windows one that
            differentiates, with ``carry="forever"`` in ``MetaTrainer``.

    Raises:
        ValueError: if ``initial`` is not finite.

    Reference: Tallec and Ollivier (2017), "Unbiasing Truncated Backpropagation Through Time", section 6.1;
    Vicol, Metz and Sohl-Dickstein (2021), section 5.1.
    """
    require_finite("initial", initial)
    problem = BilevelProblem(
        start=lambda theta, task: {"s": tf.zeros([PLUS + MINUS], theta.dtype)},
        # The system does not descend; what its gradient is does not matter.
        inner_loss=lambda inner, theta, batch, model: tf.reduce_sum(inner["s"]),
        outer_loss=lambda inner, theta, task, model: tf.square(inner["s"][0] - 1) / 2,
        rule=LinearSystem(),
        steps=steps,
        hyperparameters=lambda theta: theta,
    )
    return BilevelLearner(problem, estimator or persistent_evolution(0.1, 500), tf.constant(float(initial)))

"""An actor-critic whose discount and bootstrapping parameters are meta-learned during its training."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import keras
import tensorflow as tf

from metalearn import rules
from metalearn.checks import require_fraction, require_positive
from metalearn.estimators import Estimator, checkpointed
from metalearn.nn import functional
from metalearn.problems.applications.rollout import (
    Followed,
    batch_of,
    distribution_of,
    followed,
    require_sizes,
)
from metalearn.problems.applications.surrogates import advantages, discounted, plain
from metalearn.problems.bilevel import BilevelProblem
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.sources.environments import Environment, Episodes
from metalearn.types import Meta, Parameters, Rule, Structure, Task


def actor_critic(
    environment: Environment,
    model: keras.Model,
    rule: Rule,
    discount: float = 0.9,
    trace: float = 0.9,
    reference: float = 1.0,
    deviation: float = 0.5,
    estimator: Estimator | None = None,
    seed: int = 0,
) -> BilevelLearner:
    """Return a learner of the discount gamma and the trace decay lambda of an actor-critic's returns.

    ::

        g_t        = r_t + gamma ((1 - lambda) v(s_{t+1}) + lambda g_{t+1}),    v(s_H) = g_H = 0
        inner loss = 1/N sum_nt [ -(g_t - v(s_t)) log pi(a_t) + (g_t - v(s_t))^2 / 2 ]
        outer loss = 1/N sum_nt [ -(g'_t - v(s_t)) log pi(a_t) ]

    with rollouts of theta_0 in the inner loss and of theta_1 in the outer one; g' has the discount
    ``reference`` and a lambda of 1.

    Updates are semi-gradients: ``g - v`` in front of log pi and g in the square are constants with respect
    to theta, and functions of gamma and lambda. An iteration is one update; with ``MetaTrainer(carry=...)``
    the next iteration continues from the updated actor-critic, on the fixed tasks of
    ``Rollouts(population=...)``. The meta-gradient is therefore the paper's with a decay of 0: it is exact
    for one update on given trajectories and ignores the effect on later ones. The outer loss is the negative
    mean return with the discount ``reference``; it reports the undiscounted ``return``, ``discount`` and
    ``trace``.

    Args:
        environment: the environment of the tasks.
        model: a built Keras model from observations to the means of actions (logits if discrete) and v.
        rule: the inner update rule.
        discount: the initial gamma, in (0, 1); phi contains its logit.
        trace: the initial lambda, in (0, 1); phi contains its logit.
        reference: the discount of the outer loss, in [0, 1].
        deviation: the standard deviation of continuous actions.
        estimator: the estimator of the meta-gradient; ``checkpointed()`` by default.
        seed: the seed of the model's initial parameters, which are the same for every task.

    Raises:
        ValueError: if a number is out of range, or the model does not fit the environment.

    Reference: Xu, van Hasselt and Silver (2018), "Meta-Gradient Reinforcement Learning", section 1;
    without its entropy bonus, and with a model that does not take gamma and lambda as inputs.
    """
    initial, rule = functional.initialize(model, seed), rules.get(rule)
    learned = {"discount": _logit("discount", discount), "trace": _logit("trace", trace)}
    follower = _ActorCritic(environment, model, initial, reference, deviation)
    problem = BilevelProblem(
        start=follower.start,
        inner_loss=follower.inner_loss,
        outer_loss=follower.outer_loss,
        rule=rule,
        steps=1,
        batch=batch_of,
    )
    return BilevelLearner(problem, estimator or checkpointed(), {**learned, "rule": rule.learnable(initial)})


def _logit(name: str, fraction: float) -> tf.Tensor:
    require_fraction(name, fraction)
    if fraction in (0, 1):
        raise ValueError(f"{name} must be between 0 and 1 to be learned by its logit, got {fraction}")
    return tf.constant(math.log(fraction / (1 - fraction)), keras.config.floatx())


@dataclasses.dataclass(frozen=True)
class _ActorCritic:
    """The functions of one task; see :func:`actor_critic`."""

    environment: Environment
    model: keras.Model
    initial: Parameters
    reference: float
    deviation: float

    def __post_init__(self) -> None:
        require_fraction("reference", self.reference)
        require_positive("deviation", self.deviation)
        require_sizes(self.environment, self.model, values=1)

    def start(self, phi: Meta, task: Task) -> Parameters:
        return tf.nest.map_structure(lambda leaf: tf.cast(leaf, phi["discount"].dtype), self.initial)

    def inner_loss(self, theta: Parameters, phi: Meta, episodes: Episodes, state: Structure) -> tf.Tensor:
        found, values = self._follow(theta, episodes)
        weights = self._advantages(found, values, tf.sigmoid(phi["discount"]), tf.sigmoid(phi["trace"]))
        errors = weights + tf.stop_gradient(values) - values
        terms = tf.square(errors) / 2 - weights * found.log_probabilities
        return tf.reduce_mean(tf.reduce_sum(terms, 1))

    def outer_loss(self, theta: Parameters, phi: Meta, task: Task, state: Structure) -> Any:
        found, values = self._follow(theta, task.query)
        weights = self._advantages(found, values, self.reference, 1.0)
        gained = tf.reduce_mean(tf.reduce_sum(plain(found.log_probabilities) * weights, 1))
        rewards = found.trajectories.rewards
        value = tf.reduce_mean(discounted(rewards, self.reference)[:, 0])
        return -(gained + value), {
            "return": tf.reduce_mean(tf.reduce_sum(rewards, 1)),
            "discount": tf.sigmoid(phi["discount"]),
            "trace": tf.sigmoid(phi["trace"]),
        }

    def _follow(self, theta: Parameters, episodes: Episodes) -> tuple[Followed, tf.Tensor]:
        """Return rollouts, and the values of their observations, ``[N, H]``."""
        network = functools.partial(functional.apply, self.model)
        distribution = distribution_of(self.environment.spec, self.deviation)
        found = followed(self.environment, network, theta, distribution, episodes)
        return found, found.rest[..., 0]

    def _advantages(
        self, found: Followed, values: tf.Tensor, discount: float | tf.Tensor, trace: float | tf.Tensor
    ) -> tf.Tensor:
        """Return ``g_t - v(s_t)``, which is constant with respect to theta."""
        observations, _, rewards = found.trajectories
        return advantages(observations, rewards, lambda *_: tf.stop_gradient(values), discount, trace)

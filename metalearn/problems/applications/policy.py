"""Policies that adapt to a task by policy gradients.

The surrogate ``plain`` gives wrong meta-gradients. For a Gaussian bandit with mean 0.2, standard deviation
0.5, goal 1.2 and inner rate 0.1, the meta-gradient of the negative return is -1.28. DiCE and LVC estimate
this value; ``plain`` estimates -1.6, the first-order value, with the baseline ``mean`` and -2.4 with
``none``.

Use ``MetaTrainer(check_derivatives=False)``: by design, the derivatives of a surrogate are not those of its
value.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import keras
import tensorflow as tf

from metalearn import rules
from metalearn.checks import require_fraction, require_positive
from metalearn.estimators import Estimator, checkpointed, natural
from metalearn.nn import functional
from metalearn.problems.applications.rollout import (
    batch_of,
    cast,
    distribution_of,
    followed,
    require_sizes,
    rollout,
)
from metalearn.problems.applications.surrogates import BASELINES, SURROGATES, advantages, discounted
from metalearn.problems.bilevel import BilevelProblem
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.sources.environments import Environment, Episodes
from metalearn.types import Inner, Meta, Parameters, Rule, Structure, Task

PATHWISE = "pathwise"
"""The surrogate that is the return itself, differentiated through the environment."""


def policy(
    environment: Environment,
    model: keras.Model,
    rule: Rule,
    steps: int = 1,
    surrogate: str = "dice",
    baseline: str = "linear",
    discount: float = 1.0,
    trace: float = 1.0,
    normalized: bool = False,
    exploratory: bool = False,
    deviation: float = 0.5,
    estimator: Estimator | None = None,
    radius: float | None = None,
) -> BilevelLearner:
    """Return a learner of a policy's initial parameters, from which it adapts by policy gradients.

    ::

        inner loss_k = -objective(theta_k; rollouts of theta_k)          on batch k of the support's noise
        outer loss   = -objective(theta_K; rollouts of theta_K)          on the query's noise
        objective    = 1/N sum_n sum_t discount^t s_nt A_nt + stop(mean discounted return)

    with tasks as :class:`metalearn.tasks.Rollouts` draws them. A are generalised advantages, which are
    constants; the factors s have the value 0 and derivatives that depend on ``surrogate``. The outer loss
    reports ``return``, the mean undiscounted return.

    Args:
        environment: the environment of the tasks.
        model: a built Keras model from observations to means of actions, or to logits of discrete ones.
        rule: the inner update rule.
        steps: K.
        surrogate: ``dice``; ``lvc``, whose second derivatives have a lower variance and a bias; ``plain``; or
            ``pathwise`` for differentiable environments: derivatives through rewards and states. Its loop is
            unrolled, so the compile time grows with the horizon.
        baseline: ``linear`` in features of observation and time, fitted to each batch; ``mean`` of the
            batch at each step; or ``none``.
        discount: the discount of rewards, in (0, 1].
        trace: lambda of generalised advantages, in [0, 1]; 1 for returns without bootstrapping.
        normalized: whether advantages are divided by their standard deviation within the batch.
        exploratory: whether the outer loss contains E-MAML's term for the sampling of the initial rollouts;
            only with ``plain``, as the second derivatives of the others contain it in expectation.
        deviation: the standard deviation of continuous actions.
        estimator: the estimator of the meta-gradient; ``checkpointed()`` by default.
        radius: the KL divergence of an update by ``SGD(1.0)``, see :class:`metalearn.estimators.natural`;
            None for the plain meta-gradient.

    Raises:
        ValueError: if an option is not known, a number out of range, or the model does not fit the
            environment.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", section 4.2; Stadie et al.
    (2018), "Some Considerations on Learning to Explore via Meta-Reinforcement Learning".
    """
    objective = _Objective(
        environment, model, surrogate, baseline, discount, trace, normalized, exploratory, deviation
    )
    return _learner(objective, rules.get(rule), steps, estimator or checkpointed(), radius)


def _learner(
    objective: _Objective, rule: Rule, steps: int, estimator: Estimator, radius: float | None
) -> BilevelLearner:
    if radius is not None:
        distribution = distribution_of(objective.environment.spec, objective.deviation)
        estimator = natural(estimator, objective.outputs, distribution.divergence, radius)
    problem = BilevelProblem(
        start=objective.start,
        inner_loss=objective.inner_loss,
        outer_loss=objective.outer_loss,
        rule=rule,
        steps=steps,
        batch=batch_of,
    )

    def start(seed: int) -> Meta:
        parameters = functional.initialize(objective.model, seed)
        return {"parameters": parameters, "rule": rule.learnable(parameters)}

    return BilevelLearner(problem, estimator, start)


@dataclasses.dataclass(frozen=True)
class _Objective:
    """The losses of :func:`policy`; the attributes are its arguments."""

    environment: Environment
    model: keras.Model
    surrogate: str
    baseline: str
    discount: float
    trace: float
    normalized: bool
    exploratory: bool
    deviation: float

    def __post_init__(self) -> None:
        spec, name = self.environment.spec, type(self.environment).__name__
        for option, known in (("surrogate", [*SURROGATES, PATHWISE]), ("baseline", [*BASELINES])):
            if getattr(self, option) not in known:
                raise ValueError(f"{option} must be one of {', '.join(known)}, got {getattr(self, option)!r}")
        require_fraction("discount", self.discount)
        require_fraction("trace", self.trace)
        require_positive("deviation", self.deviation)
        if self.surrogate == PATHWISE and not spec.differentiable:
            raise ValueError(f"surrogate={PATHWISE!r} needs derivatives, but {name} has none: use 'dice'")
        if self.exploratory and self.surrogate != "plain":
            raise ValueError(
                f"exploratory=True requires surrogate='plain': the second derivatives of "
                f"{self.surrogate!r} contain that term already, so it would count twice"
            )
        require_sizes(self.environment, self.model)

    def start(self, phi: Meta, task: Task) -> Inner | Parameters:
        parameters: Parameters = phi["parameters"]
        if not self.exploratory:
            return parameters
        zero = tf.zeros([], tf.nest.flatten(parameters)[0].dtype)
        return Inner(parameters, model=zero)

    def inner_loss(self, theta: Parameters, phi: Meta, episodes: Episodes, score: Structure) -> Any:
        loss, _, log_probabilities = self._loss(theta, episodes)
        if not self.exploratory:
            return loss
        # Summed over all trajectories, because all of them have influenced theta.
        return loss, score + tf.reduce_sum(SURROGATES["plain"](log_probabilities))

    def outer_loss(self, theta: Parameters, phi: Meta, task: Task, score: Structure) -> Any:
        loss, undiscounted, _ = self._loss(theta, task.query)
        if self.exploratory:
            loss += score * tf.stop_gradient(loss)
        return loss, {"return": undiscounted}

    def outputs(self, theta: Parameters, task: Task) -> tf.Tensor:
        """Return the model's outputs on the query's rollouts, ``[N H, A]``."""
        network = functools.partial(functional.apply, self.model)
        distribution = distribution_of(self.environment.spec, self.deviation)
        found = followed(self.environment, network, theta, distribution, task.query)
        observations = found.trajectories.observations
        return network(theta, tf.reshape(observations, [-1, observations.shape[-1]]))

    def _loss(self, theta: Parameters, episodes: Episodes) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the loss, the undiscounted return, and the log-probabilities ``[N, H]``."""
        network = functools.partial(functional.apply, self.model)
        distribution = distribution_of(self.environment.spec, self.deviation)
        if self.surrogate == PATHWISE:
            dtype = tf.nest.flatten(theta)[0].dtype
            acting = functools.partial(network, theta)
            rewards = rollout(
                self.environment, acting, distribution, cast(episodes, dtype), differentiated=True
            ).rewards
            return -self._value(rewards), tf.reduce_mean(tf.reduce_sum(rewards, 1)), tf.zeros([], dtype)
        (observations, _, rewards), log_probabilities, _ = followed(
            self.environment, network, theta, distribution, episodes
        )
        weights = self._weights(observations, rewards)
        surrogate = tf.reduce_mean(tf.reduce_sum(SURROGATES[self.surrogate](log_probabilities) * weights, 1))
        undiscounted = tf.reduce_mean(tf.reduce_sum(rewards, 1))
        return -(surrogate + tf.stop_gradient(self._value(rewards))), undiscounted, log_probabilities

    def _value(self, rewards: tf.Tensor) -> tf.Tensor:
        """Return the mean discounted return."""
        return tf.reduce_mean(discounted(rewards, self.discount)[:, 0])

    def _weights(self, observations: tf.Tensor, rewards: tf.Tensor) -> tf.Tensor:
        """Return ``discount^t A_t``, a constant."""
        found = advantages(observations, rewards, BASELINES[self.baseline], self.discount, self.trace)
        if self.normalized:
            found /= tf.math.reduce_std(found) + 1e-6
        powers = [self.discount**step for step in range(rewards.shape[1])]
        return tf.stop_gradient(found * tf.constant(powers, found.dtype))

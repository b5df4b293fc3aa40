"""Objectives whose derivatives estimate those of the expected return, and baselines for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

Surrogate = Callable[[tf.Tensor], tf.Tensor]
"""Log-probabilities ``[N, H]`` to factors ``[N, H]`` of the advantages; the factors have the value 0."""

Baseline = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Observations ``[N, H, O]`` and rewards-to-go ``[N, H]`` to values ``[N, H]``."""

RIDGE = 1e-5
"""Ridge penalty of the least squares of :func:`linear`, relative to features of size 1."""


def dice(log_probabilities: tf.Tensor) -> tf.Tensor:
    """Return ``box(w_t) - box(w_{t-1})`` for ``w_t = sum_{u<=t} lp_u`` and ``box(x) = exp(x - stop(x))``.

    Derivatives of every order are those of the expected return.

    Reference: Foerster et al. (2018), "DiCE: The Infinitely Differentiable Monte Carlo Estimator"; with
    advantages: Farquhar, Whiteson and Foerster (2019), "Loaded DiCE".
    """
    until = tf.cumsum(log_probabilities, 1)
    return box(until) - box(until - log_probabilities)


def lvc(log_probabilities: tf.Tensor) -> tf.Tensor:
    """Return ``box(lp_t) - 1``: the first derivatives of DiCE, and second ones without terms of two steps.

    The symmetric part of ``2 sum_t A_t grad lp_t sum_{u<t} grad lp_u'`` is omitted. It causes most of the
    variance; without it the second derivatives are biased, except for horizon 1.

    Reference: Rothfuss et al. (2019), "ProMP: Proximal Meta-Policy Search", equation 8.
    """
    return box(log_probabilities) - 1


def plain(log_probabilities: tf.Tensor) -> tf.Tensor:
    """Return ``lp_t - stop(lp_t)``: the first derivatives of DiCE, but wrong second derivatives.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", equation 4 as implemented.
    """
    return log_probabilities - tf.stop_gradient(log_probabilities)


SURROGATES: dict[str, Surrogate] = {"dice": dice, "lvc": lvc, "plain": plain}
"""By name."""


def box(x: tf.Tensor) -> tf.Tensor:
    """Return ``exp(x - stop(x))``, which is 1 with the derivatives of ``exp``."""
    return tf.exp(x - tf.stop_gradient(x))


def none(observations: tf.Tensor, to_go: tf.Tensor) -> tf.Tensor:
    """Return zeros."""
    return tf.zeros_like(to_go)


def mean(observations: tf.Tensor, to_go: tf.Tensor) -> tf.Tensor:
    """Return the mean of the rewards-to-go at each step."""
    return tf.broadcast_to(tf.reduce_mean(to_go, 0, keepdims=True), to_go.shape)


def linear(observations: tf.Tensor, to_go: tf.Tensor) -> tf.Tensor:
    """Return the least-squares fit of the rewards-to-go to features of observation and time.

    The features are ``o``, ``o^2``, ``t``, ``t^2``, ``t^3`` and 1, with t from 0 to 1.

    Reference: Duan et al. (2016), "Benchmarking Deep Reinforcement Learning for Continuous Control",
    section 4 of the supplement.
    """
    count, horizon, size = observations.shape
    time = tf.linspace(tf.zeros([], to_go.dtype), tf.ones([], to_go.dtype), horizon)[:, None]
    times = tf.broadcast_to(tf.concat([time, time**2, time**3, time**0], 1), [count, horizon, 4])
    features = tf.reshape(tf.concat([observations, observations**2, times], 2), [-1, 2 * size + 4])
    gram = tf.matmul(features, features, transpose_a=True) / (count * horizon)
    moment = tf.linalg.matvec(features, tf.reshape(to_go, [-1]), transpose_a=True) / (count * horizon)
    factor = tf.linalg.cholesky(gram + RIDGE * tf.eye(2 * size + 4, dtype=to_go.dtype))
    weights = tf.linalg.cholesky_solve(factor, moment[:, None])
    return tf.reshape(tf.matmul(features, weights), [count, horizon])


BASELINES: dict[str, Baseline] = {"linear": linear, "mean": mean, "none": none}
"""By name."""


def discounted(values: tf.Tensor, discount: float | tf.Tensor) -> tf.Tensor:
    """Return ``sum_{u>=t} discount^(u-t) values_u``, with the shape ``[N, H]`` of the values."""
    ahead = np.subtract.outer(np.arange(values.shape[1]), np.arange(values.shape[1]))
    weights = discount ** np.maximum(ahead, 0.0) * (ahead >= 0).astype(float)
    return tf.matmul(values, tf.cast(weights, values.dtype))


def advantages(
    observations: tf.Tensor,
    rewards: tf.Tensor,
    baseline: Baseline,
    discount: float | tf.Tensor,
    trace: float | tf.Tensor,
) -> tf.Tensor:
    """Return generalised advantages ``[N, H]``, differentiable with respect to positive discount and trace.

    ::

        A_t = sum_{u>=t} (discount trace)^(u-t) (r_u + discount V_{u+1} - V_u),     V_H = 0

    Reference: Schulman et al. (2016), "High-Dimensional Continuous Control Using Generalized Advantage
    Estimation", equation 16.
    """
    values = baseline(observations, discounted(rewards, discount))
    following = tf.concat([values[:, 1:], tf.zeros_like(values[:, :1])], 1)
    return discounted(rewards + discount * following - values, discount * trace)

"""Unrolled generative adversarial networks on a mixture of Gaussians."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from metalearn import rules
from metalearn.estimators import Estimator, first_order
from metalearn.nn import functional
from metalearn.problems.applications.players import unrolled_players
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.sources.ring import coverage
from metalearn.types import Meta, Parameters, Rule, Structure, Task


def gaussians(
    generator: keras.Model,
    discriminator: keras.Model,
    unrolled: int = 5,
    *,
    rule: str | Rule | None = None,
    smoothing: float = 0.9,
    estimator: Estimator | None = None,
    seed: int = 0,
) -> BilevelLearner:
    """Return a learner of a generator whose loss is unrolled through the discriminator's steps.

    ::

        D's loss = H(smoothing, D(real)) + H(0, D(G(noise))),   G's loss = -D's loss after K more steps of D

    phi contains the generator's parameters. Support and query are dicts of ``real`` ``[N, 2]`` and ``noise``
    ``[N, Z]``, as :class:`metalearn.tasks.Ring` draws them. The discriminator's step uses the support; the
    unrolled steps and the generator's loss use the query. Use ``carry="forever"`` in ``MetaTrainer``. The
    outer loss reports ``modes`` and ``share``: how the generated points cover the ``means`` of ``Task.info``.

    Args:
        generator: ``[N, Z] -> [N, 2]``.
        discriminator: ``[N, 2] -> [N, 1]``, logits.
        unrolled: K, at least 0; 0 is an ordinary generative adversarial network.
        rule: the update rule of the discriminator; ``adam(1e-4, beta_1=0.5)`` by default.
        smoothing: the target of real examples, above 0 and at most 1.
        estimator: ``first_order()`` by default, which equals the exact estimators here at lower cost.
        seed: the seed of the discriminator's initial parameters.

    Raises:
        ValueError: if a number is out of range or the models do not fit each other.

    Reference: Metz et al. (2017), "Unrolled Generative Adversarial Networks", section 3.1.
    """
    if not 0 < smoothing <= 1:
        raise ValueError(f"smoothing must be above 0 and at most 1, got {smoothing}")
    points, taken = generator.output_shape[-1], discriminator.input_shape[-1]
    if points != taken:
        raise ValueError(
            f"the generator returns points of {points} numbers, but the discriminator takes {taken}"
        )

    def loss(theta: Parameters, phi: Meta, data: Any) -> tf.Tensor:
        fake = functional.apply(generator, phi, data["noise"])
        on_real, on_fake = (functional.apply(discriminator, theta, x) for x in (data["real"], fake))
        return _cross_entropy(smoothing, on_real) + _cross_entropy(0.0, on_fake)

    problem = unrolled_players(
        start=lambda: functional.initialize(discriminator, seed),
        inner_loss=loss,
        outer_loss=lambda theta, phi, data: -loss(theta, phi, data),
        rule=rules.adam(1e-4, beta_1=0.5) if rule is None else rule,
        unrolled=unrolled,
        report=functools.partial(_covered, generator),
    )
    return BilevelLearner(
        problem, estimator or first_order(), lambda seed: functional.initialize(generator, seed)
    )


def _covered(generator: keras.Model, phi: Meta, task: Task) -> dict[str, tf.Tensor]:
    """Return how the generated points cover the modes, if ``Task.info`` has their means."""
    if not isinstance(task.info, Mapping) or "means" not in task.info:
        return {}
    points = functional.apply(generator, phi, task.query["noise"])
    return coverage(points, tf.cast(task.info["means"], points.dtype))._asdict()


def _cross_entropy(target: float, logits: Structure) -> tf.Tensor:
    """Return the mean of ``-target log s - (1 - target) log(1 - s)`` with ``s = sigmoid(logits)``."""
    return tf.reduce_mean(tf.math.softplus(logits) - target * logits)

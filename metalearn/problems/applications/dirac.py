"""The smallest generative adversarial network."""

from __future__ import annotations

import keras
import tensorflow as tf

from metalearn import rules
from metalearn.checks import require_finite
from metalearn.estimators import Estimator, first_order
from metalearn.problems.applications.players import unrolled_players
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.types import Meta, Parameters, Rule, Structure


def dirac(
    unrolled: int = 0,
    *,
    rule: str | Rule | None = None,
    start: tuple[float, float] = (1.0, 0.5),
    estimator: Estimator | None = None,
) -> BilevelLearner:
    """Return a learner of the Dirac GAN: data at 0, a generator of one point phi, a discriminator psi x.

    ::

        discriminator: minimise softplus(-psi phi),   generator: minimise -softplus(-psi phi)

    phi and ``theta["psi"]`` are scalars. The equilibrium is at zero; alternating descent circles around it
    without converging, while an unrolled generator converges. Use ``carry="forever"`` in ``MetaTrainer``.

    Args:
        unrolled: the number of discriminator steps that the generator's loss is unrolled through, at least 0.
        rule: the update rule of the discriminator; gradient descent with a rate of 0.1 by default.
        start: the initial phi and psi.
        estimator: ``first_order()`` by default, which equals the exact estimators here at lower cost.

    Raises:
        ValueError: if ``unrolled`` is negative, or the start is not finite.

    Reference: Mescheder, Geiger and Nowozin (2018), "Which Training Methods for GANs do actually Converge?",
    definition 2.1, with ``f(t) = -log(1 + exp(-t))``; unrolled as in Metz et al. (2017).
    """
    for number in start:
        require_finite("start", number)

    phi, psi = (tf.constant(number, keras.config.floatx()) for number in start)

    def loss(theta: Parameters, phi: Meta, data: Structure) -> tf.Tensor:
        return tf.math.softplus(-theta["psi"] * phi)

    problem = unrolled_players(
        start=lambda: {"psi": psi},
        inner_loss=loss,
        outer_loss=lambda theta, phi, data: -loss(theta, phi, data),
        rule=rules.sgd(0.1) if rule is None else rule,
        unrolled=unrolled,
    )
    return BilevelLearner(problem, estimator or first_order(), phi)

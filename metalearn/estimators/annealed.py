"""One estimator in the first part of training, another one in the rest."""

from __future__ import annotations

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.estimators.protocol import Estimator
from metalearn.problems.bilevel import BilevelProblem
from metalearn.types import Meta, MetaGradient, Seed, Task


def annealed(first: Estimator, then: Estimator, iterations: int, fraction: float = 0.5) -> Estimator:
    """Return the estimator that is ``first`` in iterations before ``fraction iterations``, ``then`` after.

    With ``first_order`` and ``mixed_mode``, it is derivative-order annealing: cheap first-order gradients
    early in training, exact ones later. The iteration is the second number of the estimator's seed. Both
    programs are compiled, one of them runs.

    Args:
        first: used early.
        then: used afterwards.
        iterations: of the whole training, at least 1.
        fraction: of them, that ``first`` is used in; in [0, 1].

    Raises:
        ValueError: if a number is out of range, or an argument is no estimator.

    Reference: Antoniou, Edwards and Storkey (2019), "How to train your MAML", section 4,
    "Derivative-Order Annealing" (first order in 50 of 100 epochs).
    """
    require_count("iterations", iterations)
    if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
        raise ValueError(f"fraction must be in [0, 1], got {fraction!r}")
    for name, part in (("first", first), ("then", then)):
        if not isinstance(part, Estimator):
            raise ValueError(
                f"{name} must be an estimator like metalearn.estimators.first_order(), got {part!r}"
            )

    def check(problem: BilevelProblem, meta: Meta) -> None:
        first.require(problem, meta)
        then.require(problem, meta)

    def estimate(problem: BilevelProblem, meta: Meta, tasks: Task, *, seed: Seed) -> MetaGradient:
        return tf.cond(
            tf.cast(seed[1], tf.float32) < fraction * iterations,
            lambda: first(problem, meta, tasks, seed=seed),
            lambda: then(problem, meta, tasks, seed=seed),
        )

    return Estimator(
        estimate,
        check,
        seeded=True,
        second_order=first.second_order or then.second_order,
        weighs_steps=first.weighs_steps and then.weighs_steps,
    )

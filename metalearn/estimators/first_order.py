"""First-order MAML: the inner gradients are taken for constants."""

from __future__ import annotations

import functools

from metalearn.estimators.backward import cut, reverse
from metalearn.estimators.protocol import Estimator


@functools.cache
def first_order() -> Estimator:
    """Return the estimator that ignores how inner gradients depend on what they are taken at.

    With gradient descent inside and theta_0 in phi, it is the gradient of the outer loss at the adapted
    parameters. What does not pass through an inner gradient (learned rates, momentum, frozen parameters
    in the outer loss) is differentiated exactly.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", section 5.2.
    """
    return Estimator(
        lambda problem, meta, tasks: reverse(problem, meta, tasks, [(problem.steps, cut)]),
        second_order=False,
        weighs_steps=True,
    )

"""First-order MAML: the inner gradients are taken for constants."""

from __future__ import annotations

from metalearn.estimators.backward import cut, reverse
from metalearn.estimators.protocol import Estimator
from metalearn.problems.bilevel import BilevelProblem
from metalearn.types import Meta, MetaGradient, Task


def first_order() -> Estimator:
    """Return the estimator that ignores how inner gradients depend on what they are taken at.

    With gradient descent inside and theta_0 in phi, it is the gradient of the outer loss at the adapted
    parameters. What does not pass through an inner gradient (learned rates, momentum, frozen parameters
    in the outer loss) is differentiated exactly.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", section 5.2.
    """
    return Estimator(_estimate, second_order=False, weighs_steps=True)


# Of the module, so that two estimators of it are equal.
def _estimate(problem: BilevelProblem, meta: Meta, tasks: Task) -> MetaGradient:
    return reverse(problem, meta, tasks, [(problem.steps, cut)])

"""Truncated back-propagation: exact through the last inner steps, first order through the earlier ones."""

from __future__ import annotations

from metalearn.checks import require_count
from metalearn.estimators.backward import cut, retraced, reverse
from metalearn.estimators.protocol import Estimator
from metalearn.problems.bilevel import BilevelProblem
from metalearn.types import Meta, MetaGradient, Task


def truncated(window: int) -> Estimator:
    """Return the estimator that takes the inner gradients of all but the last ``window`` steps for constants.

    ::

        theta_{k+1} = theta_k - rate * stop_gradient(grad inner_loss(theta_k))     k < K - window
        theta_{k+1} = theta_k - rate * grad inner_loss(theta_k)                    k >= K - window

    in the case of gradient descent, and the gradient of the meta-loss through that. A window of 0 is
    ``first_order``, a window of K or more is ``mixed_mode``. Unlike truncation that ends at step
    K - window, the path from theta_0 to theta_{K-window} is kept, so that initial parameters get a
    gradient; what phi gets in the inner loss comes from the last steps only.

    Args:
        window: steps at the end that are differentiated exactly, at least 0.

    Raises:
        ValueError: if ``window`` is not a non-negative integer.

    Reference: Shaban et al. (2019), "Truncated Back-propagation for Bilevel Optimization", section 2.3
    (their K-RMD drops the earlier steps; with theta_0 constant the two agree).
    """
    require_count("window", window, minimum=0)

    def estimate(problem: BilevelProblem, meta: Meta, tasks: Task) -> MetaGradient:
        last = min(window, problem.steps)
        return reverse(problem, meta, tasks, [(last, retraced), (problem.steps - last, cut)])

    return Estimator(estimate, second_order=window > 0, weighs_steps=True)

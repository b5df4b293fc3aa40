"""The exact meta-gradient in mixed mode: reverse over the steps, forward over reverse within each.

Nested tapes record the backward pass of every step in order to differentiate it. Here the forward pass
keeps only ``theta_k`` and ``s_k``; the backward pass goes through the steps from last to first with the
cotangents of ``theta_{k+1}``, ``s_{k+1}`` and phi, and for step k

1. takes reverse mode through the cheap ``rule.update`` alone, its gradient argument treated as an input,
   which gives cotangents of theta, of the state, of phi, and of the gradient: call that one v;
2. pushes v forward through the gradient (one forward-over-reverse product): the theta part is the
   Hessian-vector product ``H v``, the phi part the mixed partial ``d^2 inner_loss / d phi d theta  v``.
   Both are symmetric, so they are the cotangents that reverse mode would have found.

Reference: Kemaev et al. (2025), "Scalable Meta-Learning via Mixed-Mode Differentiation",
arXiv 2505.00793, section 3.
"""

from __future__ import annotations

from metalearn.bilevel import BilevelProblem
from metalearn.estimators.backward import exact, retraced, reverse
from metalearn.estimators.programs import FUSED_STEPS as FUSED_STEPS
from metalearn.estimators.protocol import Estimator
from metalearn.types import Meta, MetaGradient, Task


def mixed_mode() -> Estimator:
    """Return the default exact estimator.

    Equal to ``unrolled``; beyond ``FUSED_STEPS`` steps its compile time and its memory for activations
    do not grow with their number.

    Up to ``FUSED_STEPS`` steps, which one fused program holds, a step is pulled back by repeating it under
    a tape instead: the forward pass is found computed already, and it makes a third to a half less of
    compile time and a slightly faster program, with XLA and, for convolutions, without.
    """

    return Estimator(_estimate, exact=True, weighs_steps=True)


# Of the module, so that two estimators of it are equal.
def _estimate(problem: BilevelProblem, meta: Meta, tasks: Task) -> MetaGradient:
    pullback = retraced if problem.steps <= FUSED_STEPS else exact
    return reverse(problem, meta, tasks, [(problem.steps, pullback)])

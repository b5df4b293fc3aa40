"""The exact meta-gradient by a recursion over the steps, from the last to the first.

Nested tapes record the backward pass of every step in order to differentiate it. Here the forward pass
keeps only the inner loop's state at every step; the backward pass carries the cotangents of that state and of
phi, and multiplies them with the derivative of step k, which holds the Hessian-vector product and the mixed
partial ``d^2 inner_loss / d phi d theta  v``. So all second-order work is products within one step, which is
repeated under a tape: reverse over reverse.

Kemaev et al. push v forward through the gradient instead (mixed mode). Both need one step's intermediates and
have the same multiplications, but TensorFlow builds forward mode from two passes in reverse: at 100 steps of
the default learner it took twice as long to compile, 1.3 times as long to run, and a third more memory.
"""

from __future__ import annotations

import dataclasses

from metalearn.estimators.backward import rematerialised, reverse
from metalearn.estimators.protocol import Carry, Estimator, prepared
from metalearn.estimators.recomputation import Checkpoints, require_checkpoints, stored_states
from metalearn.types import Meta, MetaGradient, Problem, Seed, Task


@dataclasses.dataclass(frozen=True)
class checkpointed(Estimator):
    """The default exact estimator: ``d/d phi outer_loss(theta_K(phi), phi)`` with every inner step repeated.

    Equal to ``unrolled``; beyond :data:`metalearn.execution.layout.FUSED_STEPS` steps, its compile time and
    its memory for activations do not grow with their number.

    The states of the inner loop do: there is one for every step, unless ``checkpoints`` says that fewer are
    stored at a time. The steps between them are then repeated, as few as possible: s states and no step more
    than r times do for ``C(s + r, r)`` steps. The gradient is the same.

    Attributes:
        checkpoints: states that are stored at a time: ``"all"``; ``"sqrt"``, ``sqrt(2 K)`` of them;
            ``"log"``, ``10 log2 K`` of them; or their number.

    Raises:
        ValueError: if ``checkpoints`` is none of these.

    Reference: Griewank and Walther (2000), "Algorithm 799: Revolve", for the steps that are repeated;
    Griewank and Walther (2008), "Evaluating Derivatives", chapter 12; Kemaev et al. (2025),
    "Scalable Meta-Learning via Mixed-Mode Differentiation", arXiv 2505.00793, section 3, for the recursion.
    """

    checkpoints: Checkpoints = "all"

    exact = True
    weighs_steps = True

    def __post_init__(self) -> None:
        require_checkpoints(self.checkpoints)

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the meta-gradient and an empty carry; see :class:`Estimator`."""
        tasks = prepared(self, problem, phi, tasks)
        states = stored_states(self.checkpoints, problem.steps)
        return reverse(problem, phi, tasks, [(problem.steps, rematerialised)], states=states), ()

"""Truncated backpropagation: exact for the last inner steps, first order for the earlier ones."""

from __future__ import annotations

import dataclasses

from metalearn.checks import require_count
from metalearn.estimators.backward import cut, rematerialised, reverse
from metalearn.estimators.protocol import Carry, Estimator, prepared
from metalearn.types import Meta, MetaGradient, Problem, Seed, Task


@dataclasses.dataclass(frozen=True)
class truncated(Estimator):
    """The estimator that treats the inner gradients of all but the last ``window`` steps as constants.

    ::

        theta_{k+1} = theta_k - rate * stop_gradient(grad inner_loss(theta_k))     k < K - window
        theta_{k+1} = theta_k - rate * grad inner_loss(theta_k)                    k >= K - window

    in the case of gradient descent, and the gradient of the meta-loss through these steps. A window of 0 is
    ``first_order``, a window of K or more is ``checkpointed``. Unlike truncation at step K - window, the path
    from theta_0 to theta_{K-window} is kept, so that initial parameters have a gradient; the gradient with
    respect to phi in the inner loss comes from the last steps only.

    Attributes:
        window: the number of last steps that are differentiated exactly, at least 0.

    Raises:
        ValueError: if ``window`` is not a non-negative integer.

    Reference: Shaban et al. (2019), "Truncated Back-propagation for Bilevel Optimization", section 2.3
    (their K-RMD omits the earlier steps; for constant theta_0 the two agree).
    """

    window: int

    weighs_steps = True

    def __post_init__(self) -> None:
        require_count("window", self.window, minimum=0)

    @property
    def second_order(self) -> bool:  # type: ignore[override]
        """Whether any step is differentiated exactly."""
        return self.window > 0

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the meta-gradient and an empty carry; see :class:`Estimator`."""
        tasks = prepared(self, problem, phi, tasks)
        last = min(self.window, problem.steps)
        phases = [(last, rematerialised), (problem.steps - last, cut)]
        return reverse(problem, phi, tasks, phases), ()

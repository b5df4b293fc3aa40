"""First-order MAML: the inner gradients are treated as constants."""

from __future__ import annotations

import dataclasses

from metalearn.estimators.backward import cut, reverse
from metalearn.estimators.protocol import Carry, Estimator, prepared
from metalearn.types import Meta, MetaGradient, Problem, Seed, Task


@dataclasses.dataclass(frozen=True)
class first_order(Estimator):
    """The estimator that treats inner gradients as constants.

    With gradient descent as the rule and theta_0 in phi, it is the gradient of the outer loss at the adapted
    parameters. Paths that do not pass through an inner gradient (learned rates, momentum, shared parameters
    in the outer loss) are differentiated exactly.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", section 5.2.
    """

    second_order = False
    weighs_steps = True

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the meta-gradient and an empty carry; see :class:`Estimator`.

        Raises:
            ValueError: naming the leaves of phi on which only inner gradients depend.
        """
        tasks = prepared(self, problem, phi, tasks)
        return reverse(problem, phi, tasks, [(problem.steps, cut)]), ()

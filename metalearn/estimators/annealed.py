"""One estimator in the first part of the training, another one in the rest."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.estimators.protocol import Carry, Estimator, require_estimator
from metalearn.types import Meta, MetaGradient, Problem, Seed, Task


@dataclasses.dataclass(frozen=True)
class annealed(Estimator):
    """The estimator ``first`` in iterations before ``fraction iterations``, and ``then`` afterwards.

    With ``first_order`` and ``checkpointed``, it is derivative-order annealing: first-order gradients early
    in training, exact ones later. The iteration is the second number of the estimator's seed. Both programs
    are compiled, but only one of them runs. Each has its own carry.

    Attributes:
        first: the estimator of the first iterations.
        then: the estimator of the other iterations.
        iterations: the number of iterations of the training, at least 1.
        fraction: the fraction of the iterations in which ``first`` is used, in [0, 1].

    Raises:
        ValueError: if a number is out of range, or ``first`` or ``then`` is not an estimator.

    Reference: Antoniou, Edwards and Storkey (2019), "How to train your MAML", section 4,
    "Derivative-Order Annealing" (first order in 50 of 100 epochs).
    """

    first: Estimator
    then: Estimator
    iterations: int
    fraction: float = 0.5

    def __post_init__(self) -> None:
        require_count("iterations", self.iterations)
        if not isinstance(self.fraction, int | float) or not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction must be in [0, 1], got {self.fraction!r}")
        require_estimator("first", self.first)
        require_estimator("then", self.then)

    @property
    def second_order(self) -> bool:  # type: ignore[override]
        """Whether one of the two needs second derivatives."""
        return self.first.second_order or self.then.second_order

    @property
    def weighs_steps(self) -> bool:  # type: ignore[override]
        """Whether both support a meta-loss of several steps."""
        return self.first.weighs_steps and self.then.weighs_steps

    @property
    def continues(self) -> bool:  # type: ignore[override]
        """Whether both support an inner loop that is continued."""
        return self.first.continues and self.then.continues

    def require(self, problem: Problem, phi: Meta, task: Task) -> None:
        """Raise ValueError if one of the two estimators rejects the problem."""
        self.first.require(problem, phi, task)
        self.then.require(problem, phi, task)

    def init(self, problem: Problem, phi: Meta, tasks: Task) -> Carry:
        """Return the carries of the two."""
        return self.first.init(problem, phi, tasks), self.then.init(problem, phi, tasks)

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = ((), ()), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the result of the estimator of this iteration; see :class:`Estimator`."""
        first, then = carry or ((), ())

        def early() -> tuple[MetaGradient, Carry]:
            result, kept = self.first(problem, phi, tasks, first, seed)
            return result._replace(residual={}), (kept, then)

        def late() -> tuple[MetaGradient, Carry]:
            result, kept = self.then(problem, phi, tasks, then, seed)
            return result._replace(residual={}), (first, kept)

        is_early = tf.cast(seed[1], tf.float32) < self.fraction * self.iterations
        return tf.cond(is_early, early, late)

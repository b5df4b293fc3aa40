"""What stops a training."""

from __future__ import annotations

import numpy as np

History = dict[str, np.ndarray]


class NonFiniteError(ArithmeticError):
    """A loss, a meta-gradient or an update stopped being finite.

    Attributes:
        iteration: the iteration (counted from 0) whose update was not made.
        tensors: what was not finite: ``"outer/loss"``, names of meta-parameters.
        history: the metrics of the iterations of this call before it.
    """

    def __init__(self, iteration: int, tensors: list[str], history: History) -> None:
        super().__init__(
            f"iteration {iteration}: not finite: {', '.join(tensors)}. The meta-parameters are those before "
            "it. Lower rule.learning_rate or optimizer.learning_rate, take fewer inner steps, or clip with "
            "the optimizer's clipnorm; a projection has to return finite numbers"
        )
        self.iteration, self.tensors, self.history = iteration, tensors, history

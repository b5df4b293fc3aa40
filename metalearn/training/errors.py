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


class CallbackError(RuntimeError):
    """A callback has failed; the trainer is whole, and can go on. What it failed with is the cause.

    Attributes:
        callback: that failed.
        iteration: iterations that were finished.
    """

    def __init__(self, callback: object, iteration: int, error: Exception) -> None:
        super().__init__(
            f"the callback {callback!r} failed at iteration {iteration}: {type(error).__name__}: {error}. "
            "The trainer has what was trained"
        )
        self.callback, self.iteration = callback, iteration


class WorkerLostError(RuntimeError):
    """Another worker of this training has ended, so that none can go on.

    Attributes:
        index: of the worker that says so.
    """

    def __init__(self, index: int, count: int) -> None:
        super().__init__(
            f"worker {index} of {count} (from 0) cannot reach the others: one has ended. Start all of them "
            "again: they go on from the last checkpoint"
        )
        self.index = index

"""Errors that stop a training."""

from __future__ import annotations

from metalearn.training.history import History


class NonFiniteError(ArithmeticError):
    """A loss, a meta-gradient or an update is not finite.

    Attributes:
        iteration: the iteration (counted from 0) whose update was not made.
        tensors: the names of the non-finite tensors: ``"outer/loss"``, names of meta-parameters.
        history: the metrics of the earlier iterations of this call.
    """

    def __init__(self, iteration: int, tensors: list[str], history: History) -> None:
        super().__init__(
            f"iteration {iteration}: not finite: {', '.join(tensors)}. The meta-parameters are those before "
            "this iteration. Lower rule.learning_rate or optimizer.learning_rate, take fewer inner steps, or "
            "clip with the optimizer's clipnorm; a projection has to return finite numbers"
        )
        self.iteration, self.tensors, self.history = iteration, tensors, history


class CallbackError(RuntimeError):
    """A callback raised an exception, which is the cause of this one; the trainer remains usable.

    Attributes:
        callback: the callback that failed.
        iteration: the number of completed iterations.
    """

    def __init__(self, callback: object, iteration: int, error: Exception) -> None:
        super().__init__(
            f"the callback {callback!r} failed at iteration {iteration}: {type(error).__name__}: {error}. "
            "The trainer has the state of that iteration"
        )
        self.callback, self.iteration = callback, iteration


class WorkerLostError(RuntimeError):
    """Another worker of this training has ended, so that no worker can continue.

    Attributes:
        index: the index of the worker that raises this error.
    """

    def __init__(self, index: int, count: int) -> None:
        super().__init__(
            f"worker {index} of {count} (from 0) cannot reach the others: one has ended. Start all of them "
            "again: they resume from the last checkpoint"
        )
        self.index = index

"""Callbacks between the compiled calls of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

from metalearn.checks import require_count
from metalearn.training.errors import CallbackError
from metalearn.training.history import History

Trainer = TypeVar("Trainer", contravariant=True)


class Call(NamedTuple):
    """A compiled call of the training's program.

    Attributes:
        first: its first iteration, counted from 0.
        history: the metrics as ``MetaTrainer.run`` returns them: arrays with one row for each iteration.
        seconds: the wall time of the call; that of the first call may include the compilation.
    """

    first: int
    history: History
    seconds: float

    @property
    def iterations(self) -> int:
        """The number of iterations of the call."""
        return len(self.history["outer/loss"])


Limit = int | None
"""The largest number of iterations of the next call: 0 to stop the training, None for no limit."""


def _nothing() -> None:
    pass


class Watch(NamedTuple):
    """The functions of a callback for one training.

    Attributes:
        called: called after each compiled call, in the order of the callbacks; returns the next limit. If a
            callback stops the training, those after it are still called with the same call.
        ended: called when the training ends, also after an error, in the order of the callbacks.
        limit: the limit of the first compiled call.
    """

    called: Callable[[Call], Limit]
    ended: Callable[[], None] = _nothing
    limit: Limit = None


class Callback(Protocol[Trainer]):
    """A frozen record of settings; the state of a training belongs to its :class:`Watch`."""

    def begin(self, trainer: Trainer, end: int) -> Watch:
        """Start following a training until iteration ``end``, or until a callback stops it."""
        ...


@contextmanager
def watching(
    callbacks: Sequence[Callback[Any]], trainer: Any, end: int
) -> Iterator[Callable[[Call | None], int]]:
    """Start callbacks, end them with the context, and yield a function that asks for the next limit.

    Args:
        callbacks: the callbacks in their order.
        trainer: the trainer that they receive.
        end: the iteration at which the training ends.

    Yields:
        A function of the last call, None before the first, that returns the largest number of iterations of
        the next call, 0 to stop.

    Raises:
        ValueError: if ``callbacks`` is not a list of callbacks.
        CallbackError: naming the callback that raised an exception or did not return a limit.
    """
    listed = callbacks if isinstance(callbacks, Sequence) else [callbacks]
    strange = [each for each in listed if not hasattr(each, "begin") or isinstance(each, type)]
    if strange or listed is not callbacks:
        raise ValueError(
            f"callbacks must be a list of callbacks, such as [metalearn.callbacks.csv('metrics.csv')], got "
            f"{strange[0] if strange else callbacks!r}"
        )
    watches: list[tuple[Callback[Any], Watch]] = []

    def ask(call: Call | None) -> int:
        limits = [end]
        for callback, watch in watches:
            with _naming(callback, trainer):
                limit = watch.limit if call is None else watch.called(call)
                if limit is not None:
                    require_count("the limit that it returns", limit, minimum=0)
                    limits.append(limit)
        return min(limits)

    def finish(callback: Callback[Any], watch: Watch) -> None:
        with _naming(callback, trainer):
            watch.ended()

    try:
        for callback in callbacks:
            with _naming(callback, trainer):
                watches.append((callback, callback.begin(trainer, end)))
        yield ask
    finally:
        with ExitStack() as stack:  # calls all of them, in reverse order
            for each in reversed(watches):
                stack.callback(finish, *each)


@contextmanager
def _naming(callback: Callback[Any], trainer: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise CallbackError(callback, trainer.iteration, error) from error

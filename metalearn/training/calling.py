"""What is called between the compiled calls of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

from metalearn.checks import require_count
from metalearn.training.errors import CallbackError, History

Trainer = TypeVar("Trainer", contravariant=True)


class Call(NamedTuple):
    """A compiled call of the training's program.

    Attributes:
        first: its first iteration, counted from 0.
        history: of each metric an array with one row an iteration, as ``MetaTrainer.run`` returns them.
        seconds: the wall time that it took; that of the first one may have a compilation in it.
    """

    first: int
    history: History
    seconds: float

    @property
    def iterations(self) -> int:
        """The number of its iterations."""
        return len(self.history["outer/loss"])


Limit = int | None
"""Iterations before a callback wants to be called again: 0 to stop the training, None for any number."""


def _nothing() -> None:
    pass


class Watch(NamedTuple):
    """One training as a callback follows it.

    Attributes:
        called: after each compiled call, in the order of the callbacks; returns the next limit. When one
            stops the training, those after it still get the same call.
        ended: however the training ends, also by an error; in the order of the callbacks.
        limit: before the first compiled call.
    """

    called: Callable[[Call], Limit]
    ended: Callable[[], None] = _nothing
    limit: Limit = None


class Callback(Protocol[Trainer]):
    """A frozen record of settings; what changes while a training goes on belongs to its :class:`Watch`."""

    def begin(self, trainer: Trainer, end: int) -> Watch:
        """Follow a training that goes on until iteration ``end``, or until somebody stops it."""
        ...


@contextmanager
def watching(
    callbacks: Sequence[Callback[Any]], trainer: Any, end: int
) -> Iterator[Callable[[Call | None], int]]:
    """Begin callbacks, end them with the context, and have it ask them for the length of the next call.

    Args:
        callbacks: in their order.
        trainer: what they are handed.
        end: iteration at which the training ends.

    Yields:
        A function that takes the last call, None before the first, and returns the most iterations of the
        next one, 0 to stop.

    Raises:
        CallbackError: naming the callback that has raised an exception or returned what is no limit.
    """
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
        with ExitStack() as stack:  # it calls the last first, and all of them
            for each in reversed(watches):
                stack.callback(finish, *each)


@contextmanager
def _naming(callback: Callback[Any], trainer: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise CallbackError(callback, trainer.iteration, error) from error

"""Workers that follow the chief: before each call it says what to call the program with, and from where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from metalearn.training.errors import WorkerLostError
from metalearn.training.state import State
from metalearn.training.workers import Workers


class Order(NamedTuple):
    """A call of the program, that all workers make.

    Attributes:
        iterations: their number; 0 for the end of the training.
        keep: whether the updates are to stay.
        alike: whether all tasks are to be copies of the block's first.
    """

    iterations: int
    keep: bool
    alike: bool = False


END = Order(0, False)


def give(workers: Workers, order: Order, state: Callable[[], State]) -> None:
    """Give the other workers, if this is their chief, an order and the state to carry it out from."""
    if workers.index == 0 and workers.count > 1:
        workers.from_chief([np.array(order, np.int64)])
        if order != END:
            workers.from_chief([*state().values()])


@contextmanager
def together(
    workers: Workers, settings: Any, state: Callable[[], State], carry_out: Callable[[Order, State], None]
) -> Iterator[bool]:
    """Carry out the chief's orders until it leaves the context; see ``MetaTrainer.together``.

    Args:
        workers: that are to be there.
        settings: of the trainer, which have to be the same on all; they are compared by ``repr``.
        state: returns the trainer's.
        carry_out: makes a call of the program from a state.
    """
    if workers.count > 1:
        tensors = {name: (array.shape, array.dtype.name) for name, array in state().items()}
        workers.require_equal("trainer", repr((settings, tensors)))
    if workers.index:
        for order, given in _taken(workers, state()):
            carry_out(order, given)
    try:
        yield workers.index == 0
    finally:
        with suppress(WorkerLostError):  # who has ended follows no longer
            give(workers, END, state)


def _taken(workers: Workers, state: State) -> Iterator[tuple[Order, State]]:
    """Yield the chief's orders, each with a state to carry it out from, of the shapes of ``state``."""
    while True:
        ((iterations, keep, alike),) = workers.from_chief([np.zeros(len(END), np.int64)])
        order = Order(int(iterations), bool(keep), bool(alike))
        if order == END:
            return
        yield order, dict(zip(state, workers.from_chief([*state.values()]), strict=True))

"""Workers that follow the chief, which sends the arguments and the state of each call of the program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from metalearn.training.errors import WorkerLostError
from metalearn.training.state import State
from metalearn.training.workers import Workers


class Order(NamedTuple):
    """A call of the program that all workers make.

    Attributes:
        iterations: the number of iterations; 0 for the end of the training.
        keep: whether the updates are kept.
        alike: whether all tasks are copies of one task.
    """

    iterations: int
    keep: bool
    alike: bool = False


END = Order(0, False)


def give(workers: Workers, order: Order, state: Callable[[], State]) -> None:
    """Send an order and the state that it starts from to the other workers, if this is the chief."""
    if workers.index == 0 and workers.count > 1:
        workers.from_chief([np.array(order, np.int64)])
        if order != END:
            workers.from_chief([*state().values()])


@contextmanager
def together(
    workers: Workers, settings: Any, state: Callable[[], State], carry_out: Callable[[Order, State], None]
) -> Iterator[bool]:
    """Execute the chief's orders until it leaves the context; see ``MetaTrainer.together``.

    Args:
        workers: the workers of the training.
        settings: the settings of the trainer, which have to be equal on all workers; compared by ``repr``.
        state: returns the trainer's state.
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
        with suppress(WorkerLostError):  # a worker that has ended receives no order
            give(workers, END, state)


def _taken(workers: Workers, state: State) -> Iterator[tuple[Order, State]]:
    """Yield the chief's orders, each with the state that it starts from, in the shapes of ``state``."""
    while True:
        ((iterations, keep, alike),) = workers.from_chief([np.zeros(len(END), np.int64)])
        order = Order(int(iterations), bool(keep), bool(alike))
        if order == END:
            return
        yield order, dict(zip(state, workers.from_chief([*state.values()]), strict=True))

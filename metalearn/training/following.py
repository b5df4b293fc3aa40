"""Workers that follow the chief, which sends the arguments of each call of the program.

All workers end a call in the same state, so the chief's is sent only if that of some worker is another one:
after a restoration, or if processors of different kinds round differently.
"""

from __future__ import annotations

import hashlib
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
    """Send an order, and the state that it starts from, to the other workers, if this is the chief."""
    if workers.index == 0 and workers.count > 1:
        _of_chief(workers, order, state())


@contextmanager
def together(
    workers: Workers,
    settings: Any,
    state: Callable[[], State],
    carry_out: Callable[[Order, State | None], None],
) -> Iterator[bool]:
    """Execute the chief's orders until it leaves the context; see ``MetaTrainer.together``.

    Args:
        workers: the workers of the training.
        settings: the settings of the trainer, which have to be equal on all workers; compared by ``repr``.
        state: returns the trainer's state.
        carry_out: makes a call of the program from a state, None for the present one.
    """
    if workers.count > 1:
        tensors = {name: (array.shape, array.dtype.name) for name, array in state().items()}
        workers.require_equal("trainer", repr((settings, tensors)))
    if workers.index:
        for order, given in _taken(workers, state):
            carry_out(order, given)
    try:
        yield workers.index == 0
    finally:
        with suppress(WorkerLostError):  # a worker that has ended receives no order
            give(workers, END, state)


def _taken(workers: Workers, state: Callable[[], State]) -> Iterator[tuple[Order, State | None]]:
    """Yield the chief's orders, each with the state that it starts from, None for the present one."""
    while True:
        order, given = _of_chief(workers, END, state())
        if order == END:
            return
        yield order, given


def _of_chief(workers: Workers, order: Order, state: State) -> tuple[Order, State | None]:
    """Return the chief's order, and its state unless all workers have it."""
    digest = hashlib.sha256()
    for array in state.values():
        digest.update(array.tobytes())
    orders, digests = workers.gathered([np.array(order, np.int64), np.frombuffer(digest.digest(), np.uint8)])
    iterations, keep, alike = orders[0]
    given = Order(int(iterations), bool(keep), bool(alike))
    if given == END or (digests == digests[0]).all():
        return given, None
    return given, dict(zip(state, workers.from_chief([*state.values()]), strict=True))

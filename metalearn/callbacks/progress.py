"""Progress of a training as a line of text."""

from __future__ import annotations

import collections
import dataclasses
import sys
import time
from collections.abc import Callable

import numpy as np

from metalearn.callbacks.pace import pace
from metalearn.training.calling import Call, Limit, Watch
from metalearn.training.trainer import MetaTrainer

LINES = 10
"""Number of lines for a training if the output is a file."""

SHOWN_LOSSES = 1000
"""Number of iterations over which the displayed losses are averaged."""

Show = Callable[[int, str], object]
"""A function of the number of finished iterations and a text with losses and speed."""


@dataclasses.dataclass(frozen=True)
class progress:
    """Show the progress of a training: in a terminal as one line, in a file as a line for each tenth.

    Args:
        show: displays the text; None for plain text on the standard error.
        seconds: time between two displays, as for :class:`pace`.

    Raises:
        ValueError: if ``seconds`` is not a finite number above 0.
    """

    show: Show | None = None
    seconds: float = 0.5

    def __post_init__(self) -> None:
        pace(self.seconds)

    def begin(self, trainer: MetaTrainer, end: int) -> Watch:
        """See :class:`metalearn.callbacks.Callback`."""
        paced = pace(self.seconds).begin(trainer, end)
        show, ended = (self.show, lambda: None) if self.show else _text(trainer.iteration, end)
        recent: collections.deque[np.ndarray] = collections.deque(maxlen=SHOWN_LOSSES)
        started: tuple[int, float] | None = None

        def called(call: Call) -> Limit:
            nonlocal started
            losses = np.stack([call.history["outer/loss_before"], call.history["outer/loss"]], axis=1)
            recent.extend(losses[-SHOWN_LOSSES:])
            before, after = np.transpose(recent)
            known = before[~np.isnan(before)]
            text = f"query loss {f'{known.mean():.3f} → ' if len(known) else ''}{after.mean():.3f}"
            if started:
                done, began = started
                text += f"  {(trainer.iteration - done) / (time.perf_counter() - began):.0f} it/s"
            else:  # the first call includes compilation
                started = trainer.iteration, time.perf_counter()
            show(trainer.iteration, text)
            return paced.called(call)

        return Watch(called, ended, paced.limit)


def _text(first: int, end: int) -> tuple[Show, Callable[[], None]]:
    """Return a function that writes to the standard error, and one that ends its line."""
    stream, rewrites = sys.stderr, sys.stderr.isatty()
    next_line = first

    def show(done: int, text: str) -> None:
        nonlocal next_line
        line = f"iteration {done}/{end}  {text}"
        if rewrites:
            stream.write(f"\r\x1b[K{line}")
            stream.flush()
        elif done >= next_line or done == end:
            stream.write(f"{line}\n")
            next_line = done + max(1, (end - first) // LINES)

    def ended() -> None:
        stream.write("\n" if rewrites else "")

    return show, ended

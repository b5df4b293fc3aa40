"""The protocol of trackers, and a wrapper with which a run continues if its tracker fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from metalearn.evaluation.evaluation import Evaluation
from metalearn.execution.threads import in_thread
from metalearn.training.history import History
from metalearn.types import Meta

from ..console import say


class Tracker(Protocol):
    """A service or format that a run is logged to."""

    def log(self, first_iteration: int, history: History, gradient: Meta | None, seconds: float) -> None:
        """Take the rows of consecutive iterations, as ``MetaTrainer.run`` returns them.

        ``first_iteration`` counts from 0, ``gradient`` is the meta-gradient of the last of the iterations,
        ``seconds`` the wall time that they took.
        """
        ...

    def diagnosis(self, iteration: int, row: dict[str, float], learned: dict[str, np.ndarray]) -> None:
        """Log diagnostics of the meta-gradient after a number of iterations, and learned hyperparameters."""
        ...

    def divergence(self, reason: str) -> None:
        """Record that training has stopped because a value is not finite."""
        ...

    def evaluation(self, evaluation: Evaluation, metric: str) -> None:
        """Log the result of an evaluation; ``metric`` names the loss (``"mse"``)."""
        ...

    def figures(self, paths: dict[str, Path]) -> None:
        """Log images by name."""
        ...

    def checkpoint(self, path: Path) -> None:
        """Log the final checkpoint."""
        ...

    def flush(self) -> None:
        """Wait until the calls so far are safe if this process is killed, as before a checkpoint."""
        ...

    def finish(self, exit_code: int = 0) -> None:
        """Send the remaining data and close; further calls have no effect."""
        ...


class NoTracker:
    """A tracker that stores nothing."""

    @staticmethod
    def _ignore(*_: object, **__: object) -> None:
        pass

    log = diagnosis = divergence = evaluation = figures = checkpoint = flush = finish = _ignore


class Dispensable:
    """A tracker whose failure does not stop the run: it is reported once, and no further calls are made.

    The files of the run have all metrics, whatever the tracker loses. It is opened by the first call, in a
    thread, because this takes as long as many iterations; until then calls wait, and the run goes on.
    """

    def __init__(
        self, start: Callable[[], Tracker], required: bool = False, abandon: Callable[[], None] = lambda: None
    ) -> None:
        """Make a tracker that is not open yet.

        Args:
            start: creates the tracker.
            required: whether to open the tracker now, and to raise errors of ``start``.
            abandon: called when the tracker has failed; may raise any error.
        """
        self._start, self._abandon = start, abandon
        self._opened: Future[Tracker] | None = None
        self._calls = deque[Callable[[Tracker], None]]()
        self._failed = False
        if required:
            self._open().result()

    def __getattr__(self, name: str) -> Callable[..., None]:
        def tell(*arguments: Any, **settings: Any) -> None:
            if self._failed:
                return
            self._calls.append(lambda tracker: getattr(tracker, name)(*arguments, **settings))
            if self._open().done():
                self._make_calls()

        return tell

    def flush(self) -> None:
        """See :class:`Tracker`. This waits until the tracker is open, if a call has opened it."""
        self._wait(lambda tracker: tracker.flush())

    def finish(self, exit_code: int = 0) -> None:
        """See :class:`Tracker`. This waits until the tracker is open, if a call has opened it."""
        self._wait(lambda tracker: tracker.finish(exit_code=exit_code))

    def _wait(self, call: Callable[[Tracker], None]) -> None:
        if self._opened is not None and not self._failed:
            self._calls.append(call)
            self._make_calls()

    def _open(self) -> Future[Tracker]:
        if self._opened is None:
            self._opened = in_thread(self._start)
        return self._opened

    def _make_calls(self) -> None:
        with self._dispensing():
            tracker = self._open().result()
            while self._calls:
                self._calls.popleft()(tracker)

    @contextmanager
    def _dispensing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - of any kind: the run continues
            self._failed = True
            self._calls.clear()
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            with suppress(Exception):
                say(
                    f"{reason}. The run continues; its folder has all metrics",
                    "tracking stopped:",
                    "bold yellow",
                )
                self._abandon()

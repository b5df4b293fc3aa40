"""The protocol of trackers, and a wrapper with which a run continues if its tracker fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from metalearn.evaluation.evaluation import Evaluation
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

    def finish(self, exit_code: int = 0) -> None:
        """Send the remaining data and close; further calls have no effect."""
        ...


class NoTracker:
    """A tracker that stores nothing."""

    @staticmethod
    def _ignore(*_: object, **__: object) -> None:
        pass

    log = diagnosis = divergence = evaluation = figures = checkpoint = finish = _ignore


class Dispensable:
    """A tracker whose failure does not stop the run: it is reported once, and no further calls are made.

    The files of the run have all metrics, whatever the tracker loses.
    """

    def __init__(
        self, start: Callable[[], Tracker], required: bool = False, abandon: Callable[[], None] = lambda: None
    ) -> None:
        """Start the tracker.

        Args:
            start: creates the tracker.
            required: whether errors of ``start`` are raised.
            abandon: called when the tracker has failed; may raise any error.
        """
        self._tracker: Tracker = NoTracker()
        self._abandon = abandon
        with nullcontext() if required else self._dispensing():
            self._tracker = start()

    def __getattr__(self, name: str) -> Callable[..., None]:
        def tell(*arguments: Any, **settings: Any) -> None:
            with self._dispensing():
                getattr(self._tracker, name)(*arguments, **settings)

        return tell

    @contextmanager
    def _dispensing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - of any kind: the run continues
            self._tracker = NoTracker()
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            with suppress(Exception):
                say(
                    f"{reason}. The run continues; its folder has all metrics",
                    "tracking stopped:",
                    "bold yellow",
                )
                self._abandon()

"""Learned images during training, stored in order to draw how they change."""

from __future__ import annotations

import dataclasses

import numpy as np

import metalearn as ml
from metalearn.callbacks import Call, Watch

from ..figures import distilled
from ..runs import arrays
from ..runs.files import make_plain_folder, write_atomically
from ..runs.rundir import RunDirectory
from .session import Session

FRACTIONS = (0.01, 0.1)
"""Fractions of a run's iterations after which images are stored."""


@dataclasses.dataclass(frozen=True)
class Evolution:
    """A callback that stores learned images after some iterations; for other problems it does nothing."""

    session: Session

    def begin(self, trainer: ml.MetaTrainer, end: int) -> Watch:
        """See :class:`metalearn.callbacks.Callback`."""
        total = self.session.config["training"]["iterations"]
        wanted = {round(total * fraction) for fraction in FRACTIONS} - {0, total}

        def called(_: Call | None) -> int | None:
            images, now = distilled.images_of(trainer.meta), trainer.iteration
            if images is None:
                return None
            if now in wanted:
                self._keep(now, images)
            return min((each - now for each in wanted if each > now), default=None)

        return Watch(called, limit=called(None))

    def _keep(self, iteration: int, images: np.ndarray) -> None:
        self.session.lock.require()
        folder = self.session.run.evolution
        make_plain_folder(folder)
        write_atomically(folder / f"{iteration}.npz", lambda file: np.savez(file, images=images))


def kept(run: RunDirectory) -> dict[str, np.ndarray]:
    """Return the stored images of a run, by name, the earliest first."""
    paths = sorted(run.evolution.glob("*.npz"), key=lambda path: int(path.stem))
    return {f"iteration {path.stem}": arrays.read(path)["images"] for path in paths}

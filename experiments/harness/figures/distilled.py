"""Images that are learned, beside those that learning starts with."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from metalearn import Learner
from metalearn.types import Meta

from .episodes import image, pictured

MOST = 10
"""Images beside each other."""


def distilled(learner: Learner, meta: Meta, seed: int) -> dict[str, np.ndarray] | None:
    """Return the first and the learned images ``phi["images"]``, each ``[n, H, W, channels]``, or None.

    Args:
        learner: that was trained.
        meta: trained meta-parameters.
        seed: of its initial ones.
    """
    learned = meta.get("images") if isinstance(meta, dict) else None
    if learned is None or not tf.is_tensor(learned) or not learned.shape.rank:
        return None
    first, last = (pictured(phi["images"].numpy()[:MOST]) for phi in (learner.initialize(seed), meta))
    return None if first is None or last is None else {"before": first, "learned": last}


def draw(shown: dict[str, np.ndarray]) -> Figure:
    """Draw a row of images each, from white for its smallest number to black for its largest."""
    columns = len(shown["learned"])
    figure = Figure(figsize=(1.1 + 1.2 * columns, 0.6 + 1.45 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), columns, squeeze=False)
    figure.suptitle("Images that a model is trained on, before and after they are learned", fontsize=11)
    for row, (when, images) in zip(panels, shown.items(), strict=True):
        low, high = images.min(), images.max()
        for number, (panel, pixels) in enumerate(zip(row, images, strict=True)):
            image(panel, (pixels - low) / max(high - low, 1e-12), str(number))
        row[0].set_ylabel(f"{when}\n{low:.1f} to {high:.1f}", fontsize=10)
    return figure

"""Learned images, from the initial to the final ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from metalearn import Learner
from metalearn.types import Meta

from .episodes import image, pictured

MOST = 10
"""Images in a row."""


def images_of(meta: Meta) -> np.ndarray | None:
    """Return the images ``phi["images"]``, ``[n, H, W, channels]``, or None if there are none."""
    learned = meta.get("images") if isinstance(meta, dict) else None
    if learned is None or not tf.is_tensor(learned) or not learned.shape.rank:
        return None
    return pictured(learned.numpy()[:MOST])


def distilled(
    learner: Learner, meta: Meta, seed: int, kept: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray] | None:
    """Return the images before, during and after training, ``[n, H, W, channels]``, or None without images.

    Args:
        learner: the trained learner.
        meta: trained meta-parameters.
        seed: the seed of its initial meta-parameters.
        kept: the images that were stored during training, by name.
    """
    last = images_of(meta)
    first = None if last is None else images_of(learner.initialize(seed))
    return None if first is None or last is None else {"before": first, **kept, "learned": last}


def draw(shown: dict[str, np.ndarray]) -> Figure:
    """Draw a row of images for each stage, from white for the smallest value to black for the largest."""
    columns = len(shown["learned"])
    figure = Figure(figsize=(1.1 + 1.2 * columns, 0.6 + 1.45 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), columns, squeeze=False)
    figure.suptitle("Images that a model is trained on, as they are learned", fontsize=11)
    for row, (when, images) in zip(panels, shown.items(), strict=True):
        low, high = images.min(), images.max()
        for number, (panel, pixels) in enumerate(zip(row, images, strict=True)):
            image(panel, (pixels - low) / max(high - low, 1e-12), str(number))
        row[0].set_ylabel(f"{when}\n{low:.1f} to {high:.1f}", fontsize=10)
    return figure

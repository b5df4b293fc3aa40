"""Points of a generator, together with the data."""

from __future__ import annotations

import keras
import numpy as np
from matplotlib.figure import Figure

from metalearn.nn import functional
from metalearn.sources import Source
from metalearn.types import Meta

from .axes import BLUE, FRESH, GREY

BATCHES = 4
"""Number of mini-batches that are drawn."""


def generated(generator: object, meta: Meta, tasks: Source) -> dict[str, np.ndarray] | None:
    """Return points of the data and of a generator, each ``[N, 2]``, or None if they are of another kind.

    Args:
        generator: the generator with the parameters ``meta``.
        meta: trained meta-parameters.
        tasks: dicts of ``real`` points and ``noise``.
    """
    if not isinstance(generator, keras.Model) or {*functional.parameters(generator)} != {*meta}:
        return None
    query = tasks.sample(FRESH, BATCHES).query
    if not isinstance(query, dict) or {*query} != {"real", "noise"}:
        return None
    real, noise = (query[name].numpy().reshape(-1, query[name].shape[-1]) for name in ("real", "noise"))
    made = functional.apply(generator, meta, noise).numpy()
    return {"data": real, "generated": made} if real.shape == made.shape == (len(real), 2) else None


def draw(shown: dict[str, np.ndarray]) -> Figure:
    """Draw the data and the generated points on axes with the same range, which includes both."""
    figure = Figure(figsize=(7.2, 3.9), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, (name, points), color in zip(panels, shown.items(), (GREY, BLUE), strict=True):
        axes.scatter(*points.T, s=6, color=color, alpha=0.5, linewidths=0)
        axes.set_title(f"{len(points)} points, {name}", fontsize=11)
        axes.set_aspect("equal")
        axes.grid(alpha=0.3)
    return figure

"""How a run reads in Weights & Biases: groups of charts, one axis, what is summed up of each, histograms."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from metalearn.nest import names
from metalearn.training import LOSSES
from metalearn.types import Meta

STEP = "iteration"
"""The axis of every chart: iterations finished."""

GROUPS = {"learning_rate": "update/learning_rate", "iterations_per_second": "speed/iterations_per_second"}
"""Where columns go that are in no group; what stands before the first slash of a name is a section."""

SUMMARIES = {
    **dict.fromkeys(LOSSES, "min"),
    **dict.fromkeys(("inner/support_loss/*", "inner/query_loss/*"), "min"),
    **dict.fromkeys(("meta_gradient/norm", "order/norm", "order/estimator_error"), "max"),
    **dict.fromkeys(("inner/stability", "inner/unstable", "inner/curvature_maximum"), "max"),
    **dict.fromkeys(("update/*", "learned/*", "speed/*", "tasks/*"), "last"),
}
"""What of a curve is shown in the table of runs; the last value of what is not named."""

HISTOGRAM_BINS = 64


def define(run: Any) -> None:
    """Tell a W&B run its axis and its summaries."""
    run.define_metric("*", step_metric=STEP)
    for name, summary in SUMMARIES.items():
        run.define_metric(name, step_metric=STEP, summary=summary)


def in_groups(row: dict[str, float]) -> dict[str, float]:
    """Return a row with every name in a group."""
    return {GROUPS.get(name, name): value for name, value in row.items()}


def histograms(gradient: Meta) -> dict[str, Any]:
    """Return a histogram of every leaf of a meta-gradient, by name."""
    leaves = zip(names(gradient), tf.nest.flatten(gradient), strict=True)
    return {f"meta_gradient/histogram/{name}": array_histogram(np.asarray(leaf)) for name, leaf in leaves}


def array_histogram(values: np.ndarray) -> Any:
    """Return a histogram of what is finite; values closer together than edges get edges around them."""
    from wandb import Histogram

    values = values[np.isfinite(values)].astype(np.float64)
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    largest = max(abs(low), abs(high))
    if high - low < 4 * HISTOGRAM_BINS * np.spacing(largest):
        margin = max(largest, 1e-300) / 2 if largest else 0.5
        low, high = low - margin, high + margin
    return Histogram(np_histogram=np.histogram(values, bins=HISTOGRAM_BINS, range=(low, high)))

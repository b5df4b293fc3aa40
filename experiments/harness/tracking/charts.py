"""Charts of a run: groups, the common axis, summaries of curves, and histograms."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from metalearn.evaluation.evaluation import Evaluation
from metalearn.nest import names
from metalearn.training import LOSSES
from metalearn.types import Meta

STEP = "iteration"
"""The axis of every chart: the number of finished iterations."""

GROUPS = {"learning_rate": "update/learning_rate", "iterations_per_second": "speed/iterations_per_second"}
"""Groups of columns without a group; the part of a name before the first slash is a section."""

SUMMARIES = {
    **dict.fromkeys(LOSSES, "min,last"),
    **dict.fromkeys(("inner/support_loss/*", "inner/query_loss/*"), "min,last"),
    **dict.fromkeys(("meta_gradient/norm", "order/norm", "order/estimator_error"), "max,last"),
    **dict.fromkeys(("inner/stability", "inner/unstable", "inner/curvature_maximum"), "max,last"),
    **dict.fromkeys(("update/*", "learned/*", "speed/*", "tasks/*"), "last"),
}
"""Summaries of curves in W&B's table of runs; other curves have their last value."""

HISTOGRAM_BINS = 64


def define(run: Any) -> None:
    """Define the axis and the summaries of a W&B run."""
    run.define_metric("*", step_metric=STEP)
    for name, summary in SUMMARIES.items():
        run.define_metric(name, step_metric=STEP, summary=summary)


def in_groups(row: dict[str, float]) -> dict[str, float]:
    """Return a row with every name in a group."""
    return {GROUPS.get(name, name): value for name, value in row.items()}


def of_gradient(gradient: Meta) -> dict[str, np.ndarray]:
    """Return the parts of a meta-gradient with a histogram: every leaf, by name."""
    leaves = zip(names(gradient), tf.nest.flatten(gradient), strict=True)
    return {f"meta_gradient/histogram/{name}": np.asarray(leaf) for name, leaf in leaves}


def of_learned(learned: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the learned hyperparameters with a histogram: those with more than one entry."""
    return {f"learned/histogram/{name}": values for name, values in learned.items() if values.size > 1}


def after_steps(evaluation: Evaluation, metric: str) -> dict[str, float]:
    """Return the loss after each number of inner steps, by name."""
    after = zip(evaluation.steps.tolist(), evaluation.mean.tolist(), strict=True)
    return {f"evaluation/{metric}_after_{step}": mean for step, mean in after}


def array_histogram(values: np.ndarray) -> Any:
    """Return a histogram of the finite values; edges are placed around values that are too close together."""
    from wandb import Histogram

    values = finite(values)
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    largest = max(abs(low), abs(high))
    if high - low < 4 * HISTOGRAM_BINS * np.spacing(largest):
        margin = max(largest, 1e-300) / 2 if largest else 0.5
        low, high = low - margin, high + margin
    return Histogram(np_histogram=np.histogram(values, bins=HISTOGRAM_BINS, range=(low, high)))


def finite(values: np.ndarray) -> np.ndarray:
    """Return what is finite, as a vector."""
    return values[np.isfinite(values)].astype(np.float64)

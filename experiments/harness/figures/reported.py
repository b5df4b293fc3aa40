"""Metrics of outer losses, such as an accuracy: during training, and by inner step."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from metalearn.evaluation import Evaluation
from metalearn.training.history import History

from .axes import BLUE, tidy, window_in_use, window_means


def named(history: History, evaluation: Evaluation) -> list[str]:
    """Return the metrics that are in both the training history and the evaluation."""
    return [name for name in evaluation.metrics if f"outer/{name}" in history]


def metrics(history: History, evaluation: Evaluation, window: int, milliseconds: float | None) -> Figure:
    """Draw a row of panels for each metric: on training tasks against iterations, on held-out ones by step.

    Args:
        history: the history of the training; the metric ``accuracy`` is ``outer/accuracy``.
        evaluation: of which at least one metric is in the history.
        window: the number of iterations over which a point is averaged.
        milliseconds: the duration of an iteration, for an axis of time; None for no such axis.
    """
    names = named(history, evaluation)
    figure = Figure(figsize=(9.6, 1 + 3.2 * len(names)), layout="constrained")
    for name, (training, adapting) in zip(names, figure.subplots(len(names), 2, squeeze=False), strict=True):
        values, curve = history[f"outer/{name}"], evaluation.metrics[name]
        middles, means = window_means(values, window)
        training.plot(middles, means, color=BLUE, lw=1.8, marker="o" if len(means) < 3 else "")
        used = window_in_use(len(values), window)
        averaged = f", mean over {used} iterations" if used > 1 else ""
        tidy(training, f"{name} while meta-training", "meta-iteration", f"query {name}{averaged}")
        if milliseconds:
            minutes = milliseconds / 60_000
            scales = (lambda x, m=minutes: x * m, lambda x, m=minutes: x / m)
            above = training.secondary_xaxis("top", functions=scales)
            above.set_xlabel("minutes of training", fontsize=9)
            above.tick_params(labelsize=8)
        low, high = curve.mean - curve.ci95, curve.mean + curve.ci95
        adapting.fill_between(evaluation.steps, low, high, color=BLUE, alpha=0.22, linewidth=0)
        adapting.plot(evaluation.steps, curve.mean, color=BLUE, lw=1.8, marker="o", ms=5)
        title = f"{name} on {evaluation.num_tasks} held-out tasks"
        tidy(adapting, title, "inner gradient steps", f"query {name}, mean and 95 % interval")
        drawn = np.concatenate([values, curve.mean])
        if np.nanmin(drawn) >= 0 and np.nanmax(drawn) <= 1:  # a fraction
            for panel in (training, adapting):
                panel.set_ylim(0, 1.02)
    return figure

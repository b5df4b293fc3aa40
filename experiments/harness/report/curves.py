"""Losses while training and losses while adapting, of each configuration over its seeds."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from .panels import Line, draw
from .table import Row, Table

POINTS = 100
"""Of a learning curve."""


def learning_curves(table: Table) -> Figure:
    """Draw the query loss of training tasks against iterations, the median of windows of them."""
    lines = [_learning(row) for row in table.rows]
    run = table.rows[0].group.first
    return draw(
        lines,
        f"{run.setting}: query loss while meta-training",
        "meta-iteration",
        "loss after K steps, medians of windows, range over seeds",
    )


def loss_by_step(table: Table) -> Figure:
    """Draw the loss on the evaluation's tasks against inner steps, up to where a row diverges."""
    run = table.rows[0].group.first
    return draw(
        [_adapting(row) for row in table.rows],
        f"{run.setting}: query loss after adapting to fresh tasks",
        "inner gradient steps",
        f"{run.metric.upper()}, mean and range over seeds",
        marked=True,
    )


def _learning(row: Row) -> Line:
    """Take medians: the mean of a window shows one iteration that exploded, and hides the others."""
    losses = [run.training_loss for run in row.group.runs]
    shortest = min(map(len, losses))
    starts = range(0, shortest, max(shortest // POINTS, 1))
    places = np.split(np.arange(shortest), starts[1:])
    medians = [[np.median(loss[place]) for place in places] for loss in losses]
    return Line(row.title, np.array([place.mean() for place in places]), np.array(medians))


def _adapting(row: Row) -> Line:
    seeds = row.group.per_seed[:, : row.group.diverged]
    return Line(row.title, np.arange(seeds.shape[1]), seeds)

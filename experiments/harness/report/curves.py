"""Losses while training and losses while adapting, of each configuration over its seeds."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from experiments.harness.axes import window_means
from experiments.harness.report.panels import Line, draw
from experiments.harness.report.table import Row, Table

POINTS = 100
"""Of a learning curve."""


def learning_curves(table: Table) -> Figure:
    """Draw the query loss of training tasks against iterations, averaged over windows."""
    lines = [_learning(row) for row in table.rows]
    run = table.rows[0].group.first
    return draw(
        lines,
        f"{run.name}, {run.shots}-shot: query loss while meta-training",
        "meta-iteration",
        "loss after K steps, mean and range over seeds",
    )


def loss_by_step(table: Table) -> Figure:
    """Draw the loss on the evaluation's tasks against inner steps, up to where a row diverges."""
    run = table.rows[0].group.first
    return draw(
        [_adapting(row) for row in table.rows],
        f"{run.name}, {run.shots}-shot: query loss after adapting to fresh tasks",
        "inner gradient steps",
        f"{run.metric.upper()}, mean and range over seeds",
        marked=True,
    )


def _learning(row: Row) -> Line:
    rows = min(len(run.training_loss) for run in row.group.runs)
    curves = [window_means(run.training_loss[:rows], rows // POINTS) for run in row.group.runs]
    return Line(row.title, curves[0][0], np.array([means for _, means in curves]))


def _adapting(row: Row) -> Line:
    seeds = row.group.per_seed[:, : row.group.diverged]
    return Line(row.title, np.arange(seeds.shape[1]), seeds)

"""Losses during training and adaptation, of each configuration over its seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..runs.rundir import RunDirectory
from ..sweeps.collection import training_loss
from .panels import Line, draw, readable
from .table import Table

POINTS = 100
"""Largest number of points of a learning curve."""


def learning_curves(table: Table) -> Figure:
    """Draw the query loss of training tasks against iterations, as medians over windows."""
    shown, others = readable(table)
    return draw(
        [_learning(table, configuration) for configuration in shown],
        f"{table.setting}: query loss while meta-training\n{others}".strip(),
        "meta-iteration",
        "loss after K steps, medians of windows, range over seeds",
    )


def loss_by_step(table: Table) -> Figure:
    """Draw the loss on the evaluation tasks against inner steps, until a row diverges."""
    shown, others = readable(table)
    return draw(
        [_adapting(table, configuration) for configuration in shown],
        f"{table.setting}: query loss after adapting to held-out tasks\n{others}".strip(),
        "inner gradient steps",
        f"{table.first['metric'].upper()}, mean and range over seeds",
        marked=True,
    )


def _learning(table: Table, configuration: str) -> Line:
    """Return medians over windows, because a single iteration with a large loss dominates a mean."""
    paths = table.of(configuration)["path"]
    losses = [training_loss(RunDirectory(Path(path)).metrics) for path in paths]
    shortest = min(map(len, losses))
    starts = range(0, shortest, max(shortest // POINTS, 1))
    places = np.split(np.arange(shortest), starts[1:])
    medians = [[np.median(loss[place]) for place in places] for loss in losses]
    middles = np.array([place.mean() for place in places])
    return Line(table.rows["title"][configuration], middles, np.array(medians))


def _adapting(table: Table, configuration: str) -> Line:
    row = table.rows.loc[configuration]
    seeds = table.means.loc[table.of(configuration).index]
    shown = seeds.loc[:, seeds.notna().any() & ~(seeds.columns >= row["diverged_at"])]
    return Line(row["title"], shown.columns.to_numpy(), shown.to_numpy())

"""The losses of a grid of two settings, as colours and numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator

from ..figures.axes import plain
from .table import Table

COLORS = colormaps["cividis_r"]
"""A colour map for all kinds of colour vision; a lower loss is lighter."""

MOST_TEXTS = 150
"""Largest number of cells that show their number; with more cells, only colours are readable."""


def heat_map(table: Table, grid: pd.DataFrame) -> Figure:
    """Draw the mean loss after the last step by two settings; cells without runs are hatched and listed."""
    last = table.steps[-1]
    losses = grid.map(table.numbers["mean"][last].to_dict().get).to_numpy(float)
    shown = np.ma.masked_where(~(losses > 0), losses)
    named = grid.size <= MOST_TEXTS
    width, height = (0.95, 0.62) if named else (0.4, 0.3)
    figure = Figure(
        (max(2.6 + width * grid.shape[1], 6.4), 1.7 + height * grid.shape[0]), layout="constrained"
    )
    axes = figure.subplots()
    norm = LogNorm(shown.min(), shown.max()) if shown.count() else LogNorm(0.1, 1)
    image = axes.imshow(shown, cmap=COLORS, norm=norm, aspect="auto")
    for (down, across), absent in np.ndenumerate(np.ma.getmaskarray(shown)):
        if absent:
            place = across - 0.5, down - 0.5
            axes.add_patch(Rectangle(place, 1, 1, fc="#EEEEEE", ec="#BBBBBB", hatch="///", lw=0))
        if named:
            box = {"facecolor": "#EEEEEE", "edgecolor": "none", "pad": 1.5} if absent else None
            light = absent or sum(COLORS(norm(losses[down, across]))[:3]) >= 1.5
            text = _text(table, grid.iat[down, across], losses[down, across])
            axes.text(
                *(across, down, text), color="black" if light else "white", bbox=box, ha="center",
                va="center", fontsize=9,
            )  # fmt: skip
    axes.set_xticks(range(grid.shape[1]), map(plain, grid.columns), fontsize=9, rotation=0 if named else 90)
    axes.set_yticks(range(grid.shape[0]), map(plain, grid.index), fontsize=9)
    axes.set_xlabel(plain(grid.columns.name), fontsize=11)
    axes.set_ylabel(plain(grid.index.name), fontsize=11)
    metric = str(table.first["metric"]).upper()
    figure.suptitle(plain(f"{table.setting}: {metric} after {last} steps"), fontsize=13)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, ticks=LogLocator(subs=(1, 2, 5)), format="%g")
    bar.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label(plain(f"{metric}, mean over seeds"), fontsize=10)
    return figure


def _text(table: Table, configuration: object, loss: float) -> str:
    if not isinstance(configuration, str):
        return "no run"
    row = table.rows.loc[configuration]
    step = row["diverged_at"]
    text = f"{loss:.3g}" if loss == loss else "-" if np.isnan(step) else f"diverged\nat {step:.0f}"
    return text + (f"\nn = {row['n']}" if row["n"] < table.rows["n"].max() else "")

"""The losses of a grid of two settings, as colours and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator

from .grid import Grid
from .panels import plain
from .table import Row, Table

COLORS = colormaps["cividis_r"]
"""The same for all kinds of colour vision; the lower a loss, the lighter."""


def heat_map(table: Table, grid: Grid) -> Figure:
    """Draw the mean loss after the last step by two settings; cells without runs are hatched, and named."""
    losses = np.full((len(grid.down), len(grid.across)), np.nan)
    texts = dict.fromkeys(np.ndindex(*losses.shape), "no run")
    most = max(len(row.group.runs) for row in table.rows)
    for (first, second), row in grid.cells.items():
        place = grid.down.index(second), grid.across.index(first)
        losses[place] = np.nan if row.losses[-1] is None else row.losses[-1].mean
        texts[place] = _text(row, most)
    shown = np.ma.masked_where(~(losses > 0), losses)
    width, height = 2.6 + 0.95 * len(grid.across), 1.7 + 0.62 * len(grid.down)
    figure = Figure((max(width, 6.4), height), layout="constrained")
    axes = figure.subplots()
    norm = LogNorm(shown.min(), shown.max()) if shown.count() else LogNorm(0.1, 1)
    image = axes.imshow(shown, cmap=COLORS, norm=norm, aspect="auto")
    for place, text in texts.items():
        known = not np.ma.getmaskarray(shown)[place]
        _write_cell(axes, place, text, COLORS(norm(losses[place])) if known else None)
    axes.set_xticks(range(len(grid.across)), [plain(value) for value in grid.across], fontsize=9)
    axes.set_yticks(range(len(grid.down)), [plain(value) for value in grid.down], fontsize=9)
    axes.set_xlabel(plain(grid.names[0]), fontsize=11)
    axes.set_ylabel(plain(grid.names[1]), fontsize=11)
    run = table.rows[0].group.first
    figure.suptitle(plain(f"{run.setting}: {run.metric.upper()} after {table.last} steps"), fontsize=13)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, ticks=LogLocator(subs=(1, 2, 5)), format="%g")
    bar.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label(plain(f"{run.metric.upper()}, mean over seeds"), fontsize=10)
    return figure


def _text(row: Row, most: int) -> str:
    loss, runs = row.losses[-1], len(row.group.runs)
    text = row.group.missing.replace(" at", "\nat") if loss is None else f"{loss.mean:.3g}"
    return text + (f"\nn = {runs}" if runs < most else "")


def _write_cell(axes: Axes, place: tuple[int, ...], text: str, color: tuple[float, ...] | None) -> None:
    down, across = place
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9}
    if color is None:
        corner = across - 0.5, down - 0.5
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="#EEEEEE", edgecolor="#BBBBBB", hatch="///", lw=0))
        style["bbox"] = {"facecolor": "#EEEEEE", "edgecolor": "none", "pad": 1.5}
    else:
        style["color"] = "white" if sum(color[:3]) < 1.5 else "black"
    axes.text(across, down, text, **style)

"""What the panels of all figures share: captions, grid, and an axis that is logarithmic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter


def positive(values: np.ndarray, missing: float = np.nan) -> np.ndarray:
    """Return values with those that have no place on a log axis replaced."""
    values = np.asarray(values, np.float64)
    return np.where((values > 0) & (values < np.inf), values, missing)


def tidy(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Give a panel its captions, a light grid and few ticks."""
    axes.set_title(title, fontsize=13)
    axes.set_xlabel(x, fontsize=11)
    axes.set_ylabel(y, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    if y:
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def log_scale(axes: Axes, drawn: Sequence[np.ndarray], ceiling: float = np.inf) -> None:
    """Make y logarithmic, over what is positive and below ``ceiling``, with plain numbers at the ticks."""
    values = positive(np.concatenate(drawn), missing=0)
    values = values[values > 0]
    if not values.size:
        axes.text(0.5, 0.5, "no finite values", transform=axes.transAxes, ha="center", va="center")
        return
    low, high = np.log10(values.min()), np.log10(min(values.max(), ceiling))
    margin = max(0.05 * (high - low), 0.02)
    axes.set_yscale("log")
    axes.set_ylim(10 ** (low - margin), 10 ** (high + margin))
    digits = (1.0, 2.0, 3.0, 5.0) if high - low < 1.2 else (1.0, 3.0) if high - low < 3.2 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=digits, numticks=12))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))

"""Common parts of figures: means over windows, axes, and styles of curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from metalearn.evaluation.task_list import EVALUATION_STREAM

BLUE, ORANGE, VERMILLION, SKY, GREY = "#0072B2", "#E69F00", "#D55E00", "#56B4E9", "#6B6B6B"
CYCLE = (BLUE, ORANGE, "#009E73", VERMILLION, SKY, "#CC79A7", GREY)
"""Colours that can be distinguished with any colour blindness: the palette of Okabe and Ito (2008)."""

STYLES: tuple[Any, ...] = ("-", "--", ":", "-.")

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

LEGEND: dict[str, Any] = {"fontsize": 10, "frameon": False}

LOSSES: dict[tuple[str, str], dict[str, Any]] = {
    ("query", "before"): {"color": BLUE, "linestyle": "--"},
    ("query", "after"): {"color": BLUE, "linestyle": "-"},
    ("support", "before"): {"color": ORANGE, "linestyle": ":"},
    ("support", "after"): {"color": ORANGE, "linestyle": "-."},
}
"""Styles of the losses of query and support, before and after adaptation, in all figures."""

FRESH = (2, EVALUATION_STREAM)
"""The seed of the tasks in figures, which no training draws."""

STEPS = (0, 1)
"""Inner steps after which figures of single tasks show predictions."""

MOST_POINTS = 2000
"""Largest number of points of a curve; with more iterations, windows are longer."""


def plain(text: object) -> str:
    """Return text that is drawn literally: without formulas, and in a legend whatever its first character."""
    text = str(text)
    return (f" {text}" if text.startswith("_") else text).replace("$", r"\$")


def look(index: int) -> dict[str, Any]:
    """Return colour and dash of a curve; neighbours differ in both, and 28 curves in at least one."""
    return {"color": CYCLE[index % len(CYCLE)], "linestyle": STYLES[index % len(STYLES)]}


def looks(variables: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the styles of the curves of variables, by their position in the model, for all figures of it.

    Args:
        variables: all variables, in the order of the model, including those that are not parameters of it.
    """
    ordered = sorted(variables, key=lambda name: not name.startswith("parameters/"))
    return {name: look(index) for index, name in enumerate(ordered)}


def mark_leaving(axes: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, color: str) -> None:
    """Mark where an interval exceeds the axis, by a triangle at that edge."""
    bottom, top = axes.get_ylim()
    for beyond, edge, marker in ((low < bottom, 0, "v"), (high > top, 1, "^")):
        if np.any(beyond):
            place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False, "zorder": 3}
            axes.plot(x[beyond], np.full(np.sum(beyond), edge), marker, color=color, ms=5, **place)


def window_means(values: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre of each window and the mean of its finite values; NaN if it has none."""
    finite = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    rows = pd.DataFrame({"place": np.arange(len(values)), "value": finite})
    means = rows.groupby(rows["place"] // window_in_use(len(values), window)).mean()
    return means["place"].to_numpy(), means["value"].to_numpy()


def window_in_use(rows: int, window: int) -> int:
    """Return the length of the windows: shorter for a short history, longer for one with too many points."""
    return max(min(window, rows // 10), -(-rows // MOST_POINTS), 1)


def positive(values: np.ndarray, missing: float = np.nan) -> np.ndarray:
    """Return the values, with ``missing`` in place of values that are not finite or not positive."""
    values = np.asarray(values, np.float64)
    return np.where((values > 0) & (values < np.inf), values, missing)


def tidy(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Label an axis and remove its upper and right edges."""
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
    """Make y logarithmic, over positive values below ``ceiling``, with plain numbers at the ticks."""
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

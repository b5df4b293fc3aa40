"""The figures of the benchmark: one for each of its questions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from .measure import Measurement

LOOKS = {"font.size": 9, "axes.grid": True, "grid.alpha": 0.3}


def quartiles(row: Measurement, first: Measurement) -> np.ndarray:
    """Return the quartiles over rounds of time and processor time ``[2, 3]`` as multiples of the first's."""
    if first.failure:
        return np.full([2, 3], np.nan)
    ratios = row.microseconds / first.microseconds, row.cpu_microseconds / first.cpu_microseconds
    return np.quantile(ratios, [0.25, 0.5, 0.75], axis=1).T


def compared(groups: Sequence[tuple[str, Sequence[Measurement]]]) -> Figure | None:
    """Draw the times of programs as multiples of the first of their group, with quartiles.

    Args:
        groups: the title of each group, and its programs.

    Returns:
        A figure with a line for each group and a colour for each program; None if there is none to compare.
    """
    shown = [
        (title, [(row.program, quartiles(row, first)[0]) for row in others if not row.failure])
        for title, (first, *others) in groups
    ]
    shown = [(title, rows) for title, rows in shown if any(np.isfinite(low) for _, (low, *_) in rows)]
    names = list(dict.fromkeys(name for _, rows in shown for name, _ in rows))
    if not shown:
        return None
    with matplotlib.rc_context(LOOKS):
        figure = Figure(figsize=(7.5, 1.3 + 0.35 * len(shown)), layout="constrained")
        axes = figure.subplots()
        for number, name in enumerate(names):
            places = [line for line, (_, rows) in enumerate(shown) if name in dict(rows)]
            low, middle, high = np.transpose([dict(shown[line][1])[name] for line in places])
            where = np.array(places) + 0.16 * (number - (len(names) - 1) / 2)
            spread = [middle - low, high - middle]
            axes.errorbar(middle, where, xerr=spread, fmt="o", markersize=4, label=name)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set(
            xscale="log",
            xlabel=f"time as a multiple of that of {groups[0][1][0].program} (median, quartiles)",
        )
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        parts = zip(*(title.split(", ")[:-1] for title, _ in shown), strict=False)
        common = ", ".join(each[0] for each in itertools.takewhile(lambda each: len({*each}) == 1, parts))
        axes.set_title(common)
        axes.set_yticks(range(len(shown)), [title.removeprefix(f"{common}, ") for title, _ in shown])
        axes.invert_yaxis()
        axes.legend(fontsize=7)
    return figure


def estimators(found: Sequence[Measurement]) -> Figure | None:
    """Draw time, compile time and memory of the estimators against inner steps, a row for each width."""
    rows = [row for row in found if not row.failure]
    if not rows:
        return None
    widths = sorted({row.size for row in rows})
    quantities = (
        ("time of a meta-gradient [ms]", lambda row: row.median / 1000),
        ("compile time [s]", lambda row: row.compile_seconds),
        ("growth of peak memory [MB]", lambda row: row.megabytes),
    )
    with matplotlib.rc_context(LOOKS):
        figure = Figure(figsize=(11, 3.2 * len(widths)), layout="constrained")
        axes = figure.subplots(len(widths), len(quantities), squeeze=False)
        for width, panels in zip(widths, axes, strict=True):
            for (label, quantity), panel in zip(quantities, panels, strict=True):
                for name in dict.fromkeys(row.program for row in rows):
                    drawn = [row for row in rows if (row.program, row.size) == (name, width)]
                    panel.plot(
                        [row.steps for row in drawn], [quantity(row) for row in drawn], "o-", label=name
                    )
                panel.set(xscale="log", yscale="log", xlabel="inner steps", ylabel=label)
                panel.set_title(f"1-{width}-{width}-1, 25 tasks of 10 + 10 points")
        axes[0, 0].legend(fontsize=7)
    return figure

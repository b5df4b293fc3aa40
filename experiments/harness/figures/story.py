"""A page on a run's meta-gradient: its components, and whether they are in a healthy range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metalearn.diagnostics.inner import STABLE

from .axes import BLUE, GREY, LOSSES, ORANGE, VERMILLION, log_scale, looks, tidy

Rows = Mapping[str, np.ndarray]

HEALTHY = "#009E73"

BAND: dict[str, Any] = {"color": HEALTHY, "alpha": 0.08, "lw": 0}

SMALL: dict[str, Any] = {"fontsize": 8.5, "handlelength": 3.2, "framealpha": 0.85, "edgecolor": "none"}

MOST_LINES = 6

ENOUGH = 2
"""A noise scale of up to this number of meta-batches counts as near one, as its estimate is noisy."""

JUMP = 10
"""A norm that exceeds the median by this factor counts as a jump."""

RECENT = 3
"""Number of the last rows that are assessed, because a run that is healthy at first may fail later."""

SMALLEST, LARGEST = 1e-5, 1e-1
"""Healthy sizes of an outer update, relative to the weights."""


class Line(NamedTuple):
    """A curve: its values, its name, and its style."""

    values: np.ndarray
    label: str
    color: str
    style: str = "-"


def meta_gradients(iterations: np.ndarray, rows: Rows, meta_batch_size: int, title: str = "") -> Figure:
    """Draw diagnoses against iterations: six panels, each with its healthy range.

    Args:
        iterations: the iterations of the diagnoses, ascending.
        rows: the diagnostics, by the names of :mod:`metalearn.diagnostics`.
        meta_batch_size: T, with which the noise scale is compared.
        title: name of the run.
    """
    figure = Figure(figsize=(13.5, 7.6), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True).ravel()
    margin = max(0.03 * float(np.ptp(iterations)), 0.5)
    panels[0].set_xlim(iterations[0] - margin, iterations[-1] + margin)
    figure.suptitle("What the meta-gradient is doing" + (f": {title}" if title else ""), fontsize=15)
    page = _Page(iterations, rows)
    page.losses(panels[0])
    page.stability(panels[1])
    page.order(panels[2])
    page.angles(panels[3])
    page.noise(panels[4], meta_batch_size)
    page.updates(panels[5])
    for panel in panels[3:]:
        panel.set_xlabel("meta-iteration", fontsize=11)
    return figure


class _Page:
    def __init__(self, iterations: np.ndarray, rows: Rows) -> None:
        self._iterations, self._rows = iterations, rows

    def _steps(self, kind: str) -> list[np.ndarray]:
        """Return the losses of a kind at theta_0, ..., theta_K."""
        names = [name for name in self._rows if name.startswith(f"inner/{kind}_loss/")]
        return [self._rows[name] for name in sorted(names, key=lambda name: int(name.rpartition("/")[2]))]

    def losses(self, panel: Axes) -> None:
        lines = []
        for kind in ("query", "support"):
            steps = self._steps(kind)
            for when, values in (("before", steps[0]), ("after", steps[-1])):
                lines.append(Line(values, f"{kind} {when}", *LOSSES[kind, when].values()))
        self._draw(panel, lines)
        tidy(panel, "Does the inner loop help?", y="loss before and after adapting")
        log_scale(panel, [line.values for line in lines])
        kinds = [self._steps(kind) for kind in ("query", "support")]
        healthy = all(_recent(steps[-1]) < _recent(steps[0]) for steps in kinds)
        _verdict(panel, healthy, "healthy: after below before")

    def stability(self, panel: Axes) -> None:
        tidy(panel, "Is the inner rate stable?", y="inner rate times curvature")
        values = self._rows.get("inner/stability")
        if values is None:
            _absent(panel, "the inner rule is not plain descent:\nit has another limit than 2")
            return
        self._draw(panel, [Line(values, "largest of the tasks", BLUE)])
        panel.axhline(STABLE, color=VERMILLION, ls="--", lw=1.4, label=f"diverges beyond {STABLE:g}")
        log_scale(panel, [values, np.array([STABLE / 2, 2 * STABLE])])
        panel.axhspan(panel.get_ylim()[0], STABLE, **BAND)
        panel.legend(**SMALL)
        beyond = self._rows["inner/unstable"][-1]
        stable = bool(np.all(values[-RECENT:] < STABLE))
        _verdict(panel, stable, f"healthy: below {STABLE:g}; {beyond:.0%} of tasks beyond")

    def order(self, panel: Axes) -> None:
        lines = [
            Line(self._rows["order/norm"], "exact", BLUE),
            Line(self._rows["order/first_order_norm"], "first order", ORANGE, "--"),
            Line(self._rows["order/correction_norm"], "second-order part", VERMILLION, ":"),
        ]
        self._draw(panel, lines)
        tidy(panel, "How much of it is second order?", y="length of the meta-gradient")
        log_scale(panel, [line.values for line in lines])
        length = lines[0].values
        steady = np.all(length[-RECENT:] < JUMP * _typical(length))
        _verdict(panel, bool(steady), "healthy: no jumps of late")

    def angles(self, panel: Axes) -> None:
        lines = [
            Line(self._rows["order/cosine"], "exact and first-order", BLUE),
            Line(self._rows["order/estimator_cosine"], "exact and estimator in use", GREY, "--"),
            Line(self._rows["inner/gradient_cosine"], "support and query", ORANGE, "-."),
        ]
        if "tasks/cosine" in self._rows:
            lines.append(Line(self._rows["tasks/cosine"], "two tasks", VERMILLION, ":"))
        self._draw(panel, lines)
        tidy(panel, "Which gradients agree?", y="cosine of gradients")
        panel.axhline(0, color=GREY, lw=1)
        panel.set_ylim(-1.05, 1.05)
        tested = [line.values for line in lines[2:]]
        healthy = all(_recent(values) > 0 for values in tested)
        _verdict(panel, healthy, "healthy: support and query, and two tasks, above 0")

    def noise(self, panel: Axes, meta_batch_size: int) -> None:
        tidy(panel, "Are there enough tasks?", y="tasks in a meta-batch")
        if "tasks/variance" not in self._rows:
            _absent(panel, "one task: nothing to compare")
            return
        variance, signal = (_pooled(self._rows[f"tasks/{name}"]) for name in ("variance", "signal"))
        scale = np.where(signal > 0, variance / np.where(signal > 0, signal, 1), np.nan)
        self._draw(panel, [Line(scale, f"noise scale, of {RECENT} rows", BLUE)])
        panel.axhline(meta_batch_size, color=GREY, ls="--", lw=1.4, label=f"in use: {meta_batch_size}")
        log_scale(panel, [scale, np.array([meta_batch_size])])
        panel.legend(**SMALL)
        panel.axhspan(panel.get_ylim()[0], ENOUGH * meta_batch_size, **BAND)
        enough = bool(scale[-1] <= ENOUGH * meta_batch_size)
        _verdict(panel, enough, "healthy: near the dashed line, or below")

    def updates(self, panel: Axes) -> None:
        prefix = "update/ratio/"
        names = [name for name in self._rows if name.startswith(prefix)]
        ratios = {name.removeprefix(prefix): self._rows[name] for name in names}
        largest = sorted(ratios, key=lambda name: -np.nan_to_num(_typical(ratios[name])))[:MOST_LINES]
        lines = [
            Line(ratios[name], name.removeprefix("parameters/"), *style.values())
            for name, style in looks(ratios).items()
            if name in largest
        ]
        panel.axhspan(SMALLEST, LARGEST, **BAND)
        self._draw(panel, lines)
        tidy(panel, "How large are the steps?", y="|update| / |weights|")
        log_scale(panel, [*(line.values for line in lines), np.array([SMALLEST, LARGEST])])
        healthy = all(SMALLEST <= _recent(row) <= LARGEST for row in ratios.values())
        _verdict(panel, healthy, "healthy: in the band, near 1e-3")

    def _draw(self, panel: Axes, lines: Sequence[Line]) -> None:
        for values, label, color, style in lines:
            look: dict[str, Any] = {"color": color, "ls": style, "lw": 1.8, "marker": "o", "ms": 3.5}
            panel.plot(self._iterations, values, label=label, **look)
        panel.legend(**SMALL)


def _typical(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else np.nan


def _recent(values: np.ndarray) -> float:
    """Return the median of the last rows; NaN if one of them is not finite."""
    last = values[-RECENT:]
    return float(np.median(last)) if np.isfinite(last).all() else np.nan


def _pooled(values: np.ndarray) -> np.ndarray:
    """Return the sum of each row and of the few rows before it."""
    sums = np.cumsum(values)
    return sums - np.concatenate([np.zeros(min(RECENT, len(sums))), sums[:-RECENT]])


def _absent(panel: Axes, text: str) -> None:
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", fontsize=10, color=GREY)


def _verdict(panel: Axes, healthy: bool, text: str) -> None:
    """Write the healthy range below a panel's title; a sign and a colour show whether values are in it."""
    mark, color = ("✓", HEALTHY) if healthy else ("✗", VERMILLION)
    panel.set_title(f"{panel.get_title()}\n", fontsize=12)
    style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 9.5, "color": color}
    panel.text(0.5, 1.02, f"{mark}  {text}", transform=panel.transAxes, **style).set_in_layout(False)

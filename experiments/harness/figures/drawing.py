"""Figures of a run: pure functions of arrays to matplotlib figures, drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Figure

from metalearn.training.history import History

from ..runs.files import write_bytes
from .axes import (
    BLUE,
    GREY,
    LEGEND,
    LOSSES,
    log_scale,
    looks,
    mark_leaving,
    plain,
    positive,
    tidy,
    window_in_use,
    window_means,
)

matplotlib.rcParams["pdf.fonttype"] = 42  # publishers do not take matplotlib's default, Type 3

MOST_LINES = 16
"""Largest number of lines in a figure."""


def render(figure: Figure, kind: str) -> bytes:
    """Return a figure as bytes of a format: ``png`` (with 150 dots per inch), ``svg`` or ``pdf``."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=150)
    return file.getvalue()


def save(figure: Figure, path: Path, kinds: Sequence[str] = ("png", "pdf")) -> dict[str, bytes]:
    """Write files in some formats, named after a path without ending, atomically; return their paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {}
    for kind in kinds:
        files[kind] = render(figure, kind)
        figure.set_layout_engine("none")  # the other formats have the layout of the first
    for kind, content in files.items():
        write_bytes(path.with_name(f"{path.name}.{kind}"), content)
    return files


def loss_by_step(
    name: str, curves: Sequence[np.ndarray], metric: str, references: Mapping[str, float]
) -> Figure:
    """Draw query loss against inner steps; an interval that exceeds the axis is marked.

    Args:
        name: of what was evaluated.
        curves: steps, mean, half width of the 95 % interval and median, as of ``ml.evaluate``.
        metric: name of the loss.
        references: losses to compare with, by name.
    """
    figure = Figure(figsize=(8.4 if references else 7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    steps, mean, half, median = (np.asarray(curve, float) for curve in curves)
    shown, bar, starts = positive(mean), np.nan_to_num(half, posinf=0), [*references.values()]
    axes.fill_between(steps, shown - bar, shown + bar, color=BLUE, alpha=0.22, linewidth=0)
    axes.plot(steps, shown, "o-", color=BLUE, markersize=5, linewidth=1.8, label=plain(name))
    dotted: dict[str, Any] = {"color": BLUE, "linestyle": (0, (1, 1)), "linewidth": 1.2}
    axes.plot(steps, positive(median), label=plain(f"{name}: median"), **dotted)
    y = f"{metric.upper() if len(metric) < 4 else metric.replace('_', ' ')}, mean, 95 % interval and median"
    tidy(axes, "Query loss after adapting to new tasks", "inner gradient steps", y)
    # An interval that reaches 0 has no place on a logarithmic axis.
    drawn = [np.array(starts), np.maximum(shown - bar, shown / 5), shown + bar, positive(median)]
    log_scale(axes, drawn, ceiling=10 * np.nanmax([*starts, *shown[:1], 0]) or np.inf)
    mark_leaving(axes, steps, mean - half, mean + half, BLUE)
    (low, high), place = axes.get_ylim(), 1.06
    for predictor, value in sorted(references.items(), key=lambda item: -item[1]):
        axes.axhline(value, color=GREY, linestyle=(0, (6, 3)), linewidth=1, zorder=1)
        place = min(np.log(value / low) / np.log(high / low), place - 0.06)  # next to its line, or else lower
        axes.text(1.01, place, f"{predictor}: {value:g}", transform=axes.transAxes, va="center", fontsize=9)
    figure.legend(loc="outside lower center", ncols=1 + (len(name) < 35), **LEGEND)
    return figure


def training_curves(history: History, window: int) -> Figure:
    """Draw losses against iterations, averaged over windows, and the learning rate if it changes."""
    rates = positive(history.get("learning_rate", np.empty(0)), missing=0)
    scheduled = bool(rates.size) and np.ptp(rates) > 1e-6 * rates.max()
    figure = Figure(figsize=(7.2, 5.8 if scheduled else 4.8), layout="constrained")
    ratios = [4, 1] if scheduled else [1]
    panels = figure.subplots(len(ratios), squeeze=False, sharex=True, height_ratios=ratios)[:, 0]
    drawn = []
    for kind, examples in (("outer", "query"), ("inner", "support")):
        for suffix, when in (("_before", "before"), ("", "after")):
            line = {**LOSSES[examples, when], "label": f"{examples} loss {when} adapting"}
            drawn.append(_draw_curve(panels[0], history[f"{kind}/loss{suffix}"], window, **line))
    if scheduled:
        _draw_curve(panels[1], history["learning_rate"], window, color=GREY)
        tidy(panels[1], y="learning\nrate")
        panels[1].set_ylim(0, None)
    tidy(panels[0], "Losses while meta-training", y=f"loss, {_caption(history, window)}")
    log_scale(panels[0], drawn)
    panels[-1].set_xlabel("meta-iteration", fontsize=11)
    figure.legend(loc="outside lower center", ncols=2, **LEGEND)
    return figure


def meta_gradient_norms(history: History, window: int) -> Figure:
    """Draw the norm of the meta-gradient, of all variables and of each, averaged over windows."""
    prefix = "meta_gradient/norm/"
    norms = {name.removeprefix(prefix): norm for name, norm in history.items() if name.startswith(prefix)}
    typical = {name: np.median(positive(norm, missing=0)) for name, norm in norms.items() if len(norm)}
    shown = sorted(typical, key=lambda name: -typical[name])[:MOST_LINES]
    figure = Figure(figsize=(9.2, 4.6), layout="constrained")
    axes = figure.subplots()
    total = history["meta_gradient/norm"]
    drawn = [_draw_curve(axes, total, window, color="black", lw=2.6, label="all")]
    for name, style in looks(norms).items():
        if name in shown:
            line = {**style, "lw": 1.5, "label": name.removeprefix("parameters/")}
            drawn.append(_draw_curve(axes, norms[name], window, **line))
    tidy(axes, "Norm of the meta-gradient", "meta-iteration", f"Euclidean norm, {_caption(history, window)}")
    log_scale(axes, drawn)
    title = f"the largest {len(shown)} of {len(norms)}" if len(shown) < len(norms) else None
    figure.legend(loc="outside right center", title=title, **LEGEND)
    return figure


def _draw_curve(axes: Axes, values: np.ndarray, window: int, **style: Any) -> np.ndarray:
    middles, means = window_means(values, window)
    if len(means) < 3:  # too short for a line: the marker's face stands for the line's style
        style |= {"marker": "o", "mfc": "white" if "before" in style.get("label", "") else style["color"]}
    axes.plot(middles, means, **{"lw": 1.8, **style})
    return means


def _caption(history: History, window: int) -> str:
    used = window_in_use(len(next(iter(history.values()), ())), window)
    return "each iteration" if used == 1 else f"mean over {used} iterations"

"""Figures of a run: pure functions of arrays to matplotlib figures, drawn without a display."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import matplotlib
import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Figure

from metalearn import Learner, MetaLearner
from metalearn.evaluation.task_list import EVALUATION_STREAM
from metalearn.problems.bilevel import whole_support
from metalearn.sources import Source
from metalearn.training.errors import History
from metalearn.types import Meta, Task

from ..runs.files import write_atomically
from .axes import (
    BLUE,
    GREY,
    LOSSES,
    ORANGE,
    SKY,
    VERMILLION,
    log_scale,
    look,
    looks,
    mark_leaving,
    plain,
    positive,
    tidy,
    window_in_use,
    window_means,
)

matplotlib.rcParams["pdf.fonttype"] = 42  # publishers do not take matplotlib's default, Type 3

GRADES = ((":", SKY), ("-.", "#2A93CF"), ("--", BLUE), ("-", "#002B45"))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

LEGEND: dict[str, Any] = {"fontsize": 10, "frameon": False}

MOST_LINES = 16
"""In a figure."""

CANDIDATES = 100
"""Tasks that those to be drawn are chosen from."""

GRIDDED = {"shots", "queries", "grid"}
"""Settings of tasks whose queries can be spread evenly over the axis of their inputs."""


class AdaptationCase(NamedTuple):
    """One task as it is learned: one panel of :func:`adaptation`.

    Attributes:
        shots: support points.
        inputs: where the rest is drawn, ascending, ``[N]``.
        truth: the task's targets there, ``[N]``.
        support_inputs: ``[shots]``.
        support_targets: ``[shots]``.
        predictions: outputs after so many inner steps, each ``[N]``.
    """

    shots: int
    inputs: np.ndarray
    truth: np.ndarray
    support_inputs: np.ndarray
    support_targets: np.ndarray
    predictions: dict[int, np.ndarray]


def render(figure: Figure, kind: str) -> bytes:
    """Return a figure as a file of a kind, ``png`` (of 150 dots an inch), ``svg`` or ``pdf``."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=150)
    return file.getvalue()


def save(figure: Figure, path: Path, kinds: Sequence[str] = ("png",)) -> dict[str, bytes]:
    """Write files of some kinds, named after a path without ending, each whole or not at all; return them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {kind: render(figure, kind) for kind in kinds}
    for kind, content in files.items():
        write_atomically(path.with_name(f"{path.name}.{kind}"), functools.partial(_write, content=content))
    return files


def _write(file: IO[bytes], content: bytes) -> None:
    file.write(content)


def adaptation_cases(
    learner: Learner,
    meta: Meta,
    tasks: Source,
    shots: Sequence[int] = (5, 10),
    steps: Sequence[int] = (0, 1, 10),
    count: int = 3,
    seed: int = 2,
) -> list[AdaptationCase]:
    """Adapt to fresh tasks and return what :func:`adaptation` draws.

    Of many tasks, they are those whose targets have a small, a middle, ... and the largest range: what fails,
    fails on large ones first.

    Args:
        learner: of a model with one input and one output.
        meta: trained meta-parameters.
        tasks: a distribution that can put its query points on a ``grid``.
        shots: support points, a row of panels each.
        steps: inner steps, a line each.
        count: tasks for each number of shots.
        seed: of the tasks, which no training draws.

    Returns:
        The cases, those of the first number of shots first; none if this is not regression of one
        variable on another, the tasks have no grid, or each inner step has a support of its own.
    """
    if not isinstance(learner, MetaLearner):
        return []
    shapes = [getattr(learner.model, name, None) for name in ("input_shape", "output_shape")]
    settings = getattr(tasks, "__dataclass_fields__", {}).keys()
    plain = shapes == [(None, 1), (None, 1)] and learner.batch is whole_support
    if not plain or not settings >= GRIDDED:
        return []
    gridded: Any = tasks

    # Without XLA: run once for each number of shots, it would compile for longer than it saves.
    @tf.function(autograph=False)
    def predictions(meta: Meta, tasks: Task) -> tf.Tensor:
        fitted = [learner.adapt(meta, tasks.support, step) for step in steps]
        return tf.stack([learner.predict(each, tasks.query.inputs) for each in fitted], 1)

    cases: list[AdaptationCase] = []
    for number in shots:
        distribution = dataclasses.replace(gridded, shots=number, queries=200, grid=True)
        drawn = distribution.sample((seed, EVALUATION_STREAM), CANDIDATES)
        examples = drawn.support, drawn.query
        leaves = tf.nest.flatten(examples)
        if len(leaves) != 4 or any(leaf.shape.rank != 3 or leaf.shape[-1] != 1 for leaf in leaves):
            return []
        order = np.argsort(np.ptp(drawn.query.targets.numpy(), axis=(1, 2)), kind="stable")
        chosen = order[(np.linspace(1, 0.1, count)[::-1] * (CANDIDATES - 1)).astype(int)]
        drawn, examples = tf.nest.map_structure(
            functools.partial(tf.gather, indices=chosen), (drawn, examples)
        )
        outputs = predictions(meta, drawn).numpy()[..., 0]
        support, (inputs, truth) = tf.nest.map_structure(lambda leaf: leaf.numpy()[..., 0], examples)
        lines = [dict(zip(steps, output, strict=True)) for output in outputs]
        cases += map(AdaptationCase, [number] * count, inputs, truth, *support, lines)
    return cases


def adaptation(cases: Sequence[AdaptationCase], trained: str = "") -> Figure:
    """Draw predictions before and after adaptation beside the truth: a row of panels a number of shots.

    ``trained`` says with how many the learner was trained.

    After figure 2 of Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning".
    """
    shots = dict.fromkeys(case.shots for case in cases)
    rows = [[case for case in cases if case.shots == number] for number in shots]
    columns = max(map(len, rows))
    figure = Figure(figsize=(0.8 + 2.9 * columns, 1.0 + 2.3 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), columns, sharex=True, sharey=True, squeeze=False)
    title = "Predictions before and after adapting to new tasks"
    figure.suptitle(f"{title}\nmeta-trained with {trained}" if trained else title, fontsize=13)
    for row, row_panels in zip(rows, panels, strict=True):
        for panel in row_panels[len(row) :]:
            panel.set_visible(False)
        for case, panel in zip(row, row_panels, strict=False):
            _draw_case(panel, case)
        row_panels[0].set_ylabel(f"{row[0].shots} shots in test\n\noutput y", fontsize=10, linespacing=0.8)
    for panel in panels[-1]:
        panel.set_xlabel("input x", fontsize=10)
    truth = np.concatenate([case.truth for case in cases])
    margin = max(np.ptp(truth), 1e-6) / 2  # for the eye: a prediction may be far off, or not finite
    low, high = panels[0, 0].get_ylim()
    panels[0, 0].set_ylim(max(low, truth.min() - margin), min(high, truth.max() + margin))
    handles, labels = panels[0, 0].get_legend_handles_labels()
    fitting = min(int(figure.get_figwidth() / 1.75), len(labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=fitting, **LEGEND)
    return figure


def _draw_case(panel: Axes, case: AdaptationCase) -> None:
    tidy(panel)
    panel.plot(case.inputs, case.truth, color=ORANGE, alpha=0.55, linewidth=5, label="truth")
    errors = []
    for index, step in enumerate(sorted(case.predictions)):
        style, color = GRADES[round(3 * index / max(len(case.predictions) - 1, 1))]
        label = f"after {step} step{'s' * (step > 1)}" if step else "before adapting"
        panel.plot(case.inputs, case.predictions[step], color=color, ls=style, lw=1.8, label=label)
        errors.append(np.mean((case.predictions[step] - case.truth) ** 2))
    marks: dict[str, Any] = {"ls": "", "marker": "^", "ms": 7.5, "mfc": VERMILLION, "mec": "white"}
    panel.plot(case.support_inputs, case.support_targets, **marks, label="support", zorder=3)
    panel.set_title("MSE " + " → ".join(f"{error:.2g}" for error in errors), fontsize=10)


def loss_by_step(
    evaluations: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    metric: str,
    references: Mapping[str, float],
) -> Figure:
    """Draw query loss against inner steps; where an interval goes beyond the axis, that is marked.

    Args:
        evaluations: by name, steps, mean, half width of the 95 % interval and median, as of ``ml.evaluate``.
        metric: what the loss is called.
        references: losses to compare with, by name.
    """
    figure = Figure(figsize=(8.4 if references else 7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    starts = [*references.values()]
    drawn = [np.array(starts)]
    for index, (name, (steps, mean, half, median)) in enumerate(evaluations.items()):
        mean, half = positive(mean), np.nan_to_num(np.asarray(half, float), posinf=0)
        style, marker = look(index), MARKERS[index % len(MARKERS)]
        axes.fill_between(steps, mean - half, mean + half, color=style["color"], alpha=0.22, linewidth=0)
        axes.plot(steps, mean, marker=marker, markersize=5, linewidth=1.8, label=plain(name), **style)
        median_style = {**style, "linestyle": (0, (1, 1)), "linewidth": 1.2}
        axes.plot(steps, positive(median), label=plain(f"{name}: median"), **median_style)
        # An interval that reaches 0 has no place on a logarithmic axis.
        drawn += [np.maximum(mean - half, mean / 5), mean + half, positive(median)]
        starts += mean[:1].tolist()
    y = f"{metric.upper() if len(metric) < 4 else metric.replace('_', ' ')}, mean, 95 % interval and median"
    tidy(axes, "Query loss after adapting to new tasks", "inner gradient steps", y)
    log_scale(axes, drawn, ceiling=10 * np.nanmax([*starts, 0]) or np.inf)
    for index, (steps, mean, half, _) in enumerate(evaluations.values()):
        ends = np.asarray(mean, float) - half, np.asarray(mean, float) + half
        mark_leaving(axes, np.asarray(steps), *ends, look(index)["color"])
    (low, high), place = axes.get_ylim(), 1.06
    for name, value in sorted(references.items(), key=lambda item: -item[1]):
        axes.axhline(value, color=GREY, linestyle=(0, (6, 3)), linewidth=1, zorder=1)
        place = min(np.log(value / low) / np.log(high / low), place - 0.06)  # beside its line, or else lower
        axes.text(1.01, place, f"{name}: {value:g}", transform=axes.transAxes, va="center", fontsize=9)
    figure.legend(loc="outside lower center", ncols=1 + (max(map(len, evaluations)) < 35), **LEGEND)
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
    """Draw the norm of the meta-gradient, in all and of each variable, averaged over windows."""
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

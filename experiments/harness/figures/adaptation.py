"""Predictions of a learner before and after it adapts to new tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metalearn import Learner, MetaLearner
from metalearn.problems.bilevel import whole_support
from metalearn.problems.stored import Cache, Stored, program
from metalearn.sources import Source
from metalearn.types import Meta, Task

from .axes import BLUE, FRESH, LEGEND, ORANGE, SKY, VERMILLION, tidy

GRADES = ((":", SKY), ("-.", "#2A93CF"), ("--", BLUE), ("-", "#002B45"))

SHOTS, STEPS = (5, 10), (0, 1, 10)
"""Numbers of support points, a row of panels for each, and numbers of inner steps, a line for each."""

SHOWN, CANDIDATES = 3, 100
"""Tasks in a row, and the number of tasks from which they are chosen."""

GRIDDED = {"shots", "queries", "grid"}
"""Settings of tasks whose queries can be spaced evenly over the axis of their inputs."""


class AdaptationCase(NamedTuple):
    """One task before and after adaptation: one panel of :func:`adaptation`.

    Attributes:
        shots: the number of support points.
        inputs: the inputs at which functions are drawn, ascending, ``[N]``.
        truth: the task's targets there, ``[N]``.
        support_inputs: ``[shots]``.
        support_targets: ``[shots]``.
        predictions: the outputs by the number of inner steps, each ``[N]``.
    """

    shots: int
    inputs: np.ndarray
    truth: np.ndarray
    support_inputs: np.ndarray
    support_targets: np.ndarray
    predictions: dict[int, np.ndarray]


def adaptation_cases(
    learner: Learner, meta: Meta, tasks: Source, cache: Cache | None = None
) -> list[AdaptationCase]:
    """Adapt to held-out tasks and return what :func:`adaptation` draws.

    They are tasks whose targets have a small, a medium, ... and the largest range among many, because
    adaptation fails first on tasks with a large range.

    Args:
        learner: of a model with one input and one output.
        meta: trained meta-parameters.
        tasks: a distribution that can put its query points on a ``grid``.
        cache: traced programs of earlier runs; None for no cache.

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
    cases: list[AdaptationCase] = []
    for number in SHOTS:
        distribution = dataclasses.replace(gridded, shots=number, queries=200, grid=True)
        drawn = distribution.sample(FRESH, CANDIDATES)
        examples = drawn.support, drawn.query
        leaves = tf.nest.flatten(examples)
        if len(leaves) != 4 or any(leaf.shape.rank != 3 or leaf.shape[-1] != 1 for leaf in leaves):
            return []
        drawn, examples = tf.nest.map_structure(_choose(drawn.query.targets), (drawn, examples))
        stored = None if cache is None else Stored(cache, learner, meta, drawn, max(STEPS))
        # Without XLA: run once for each number of shots, it would compile for longer than it saves.
        predictions = program(learner, _predictions, jit_compile=False, stored=stored)
        outputs = predictions(meta, drawn)["predictions"].numpy()[..., 0]
        support, (inputs, truth) = tf.nest.map_structure(lambda leaf: leaf.numpy()[..., 0], examples)
        lines = [dict(zip(STEPS, output, strict=True)) for output in outputs]
        cases += map(AdaptationCase, [number] * SHOWN, inputs, truth, *support, lines)
    return cases


def _predictions(learner: MetaLearner, meta: Meta, tasks: Task) -> dict[str, tf.Tensor]:
    """Return the outputs for queries after each of :data:`STEPS`, ``[T, steps, N, 1]``."""
    fitted = [learner.adapt(meta, tasks.support, step) for step in STEPS]
    return {"predictions": tf.stack([learner.predict(each, tasks.query.inputs) for each in fitted], 1)}


def _choose(targets: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the indices of tasks, from the smallest range of targets to the largest."""
    order = np.argsort(np.ptp(targets.numpy(), axis=(1, 2)), kind="stable")
    chosen = order[(np.linspace(1, 0.1, SHOWN)[::-1] * (len(order) - 1)).astype(int)]
    return lambda leaf: tf.gather(leaf, chosen)


def adaptation(cases: Sequence[AdaptationCase], trained: str = "") -> Figure:
    """Draw predictions before and after adaptation with the true function: a row of panels for each number.

    ``trained`` is the text about the shots and steps of the training.

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

"""An episode of few-shot classification: its support, and the predictions for its queries."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metalearn import MetaLearner
from metalearn.problems.bilevel import whole_support
from metalearn.sources import Source
from metalearn.types import Batch, Meta, Structure

from .axes import BLUE, FRESH, STEPS, VERMILLION

MOST_WAYS, SHOWN = 10, 3
"""Largest number of classes in a figure, and of queries of each."""


class Episode(NamedTuple):
    """One task, class after class.

    Attributes:
        support: one image of each class, ``[C, H, W, channels]``, 0 to 1.
        queries: some images of each class, ``[C, Q, H, W, channels]``.
        answers: predicted classes by the number of inner steps, each ``[C, Q]``.
        accuracies: of all queries of the task, likewise.
    """

    support: np.ndarray
    queries: np.ndarray
    answers: dict[int, np.ndarray]
    accuracies: dict[int, float]


def episode(learner: object, meta: Meta, tasks: Source) -> Episode | None:
    """Adapt to a held-out task; return what :func:`draw` draws, or None if it does not classify images.

    The queries of the task are predicted together, as in an evaluation.

    Args:
        learner: the trained learner.
        meta: trained meta-parameters.
        tasks: tasks of classes that are not used in training.
    """
    if not isinstance(learner, MetaLearner) or learner.batch is not whole_support:
        return None
    task = tasks.sample(FRESH, 1)
    if not _are_images(task.support) or not _are_images(task.query):
        return None
    ways = int(tf.reduce_max(task.query.targets)) + 1
    classes, inputs = task.query.targets.numpy()[0], task.query.inputs.numpy()[0]
    first = [np.flatnonzero(classes == each)[:SHOWN] for each in range(ways)]
    known = [np.flatnonzero(task.support.targets.numpy()[0] == each) for each in range(ways)]
    if ways > MOST_WAYS or not all(map(len, known)) or len({*map(len, first)}) != 1:
        return None
    answers, accuracies = {}, {}
    for step in STEPS:
        fitted = learner.adapt(meta, task.support, step)
        given = np.argmax(learner.predict(fitted, task.query.inputs).numpy()[0], -1)
        answers[step], accuracies[step] = given[np.stack(first)], float(np.mean(given == classes))
    support = task.support.inputs.numpy()[0][[each[0] for each in known]]
    return Episode(support, inputs[np.stack(first)], answers, accuracies)


def _are_images(batch: Structure) -> bool:
    if not isinstance(batch, Batch) or not all(map(tf.is_tensor, batch)):
        return False
    inputs, targets = batch
    classes = targets.dtype.is_integer and targets.shape.rank == 2
    return bool(classes and inputs.shape.rank == 5 and inputs.shape[-1] in (1, 3))


def draw(shown: Episode, trained: str) -> Figure:
    """Draw a column of images for each class: its support, then queries with the predicted classes.

    Args:
        shown: the task.
        trained: what the learner was trained on, for the title.
    """
    ways, queries = shown.queries.shape[:2]
    figure = Figure(figsize=(1.1 + 1.3 * ways, 1.9 + 1.55 * queries), layout="constrained")
    panels = figure.subplots(1 + queries, ways, squeeze=False)
    steps = sorted(shown.answers)
    rates = " → ".join(f"{shown.accuracies[step]:.0%}" for step in steps)
    when = " → ".join(f"{step} step{'s' * (step != 1)}" for step in steps)
    figure.suptitle(f"New classes, meta-trained with {trained}\naccuracy after {when}: {rates}", fontsize=11)
    for number in range(ways):
        image(panels[0, number], shown.support[number], f"class {number}")
        for query in range(queries):
            given = [int(shown.answers[step][number, query]) for step in steps]
            text, right = " → ".join(map(str, given)), given[-1] == number
            image(panels[1 + query, number], shown.queries[number, query], text, right)
    panels[0, 0].set_ylabel("support", fontsize=10)
    for panel in panels[1:, 0]:
        panel.set_ylabel("query", fontsize=10)
    return figure


def pictured(inputs: np.ndarray) -> np.ndarray | None:
    """Return inputs ``[N, H, W, 1 or 3]`` unchanged, rows of numbers as square images; otherwise None."""
    if inputs.ndim == 4 and inputs.shape[-1] in (1, 3):
        return inputs
    side = round(inputs[0].size ** 0.5)
    return inputs.reshape(-1, side, side, 1) if inputs.shape[1:] == (side * side,) else None


def image(panel: Axes, pixels: np.ndarray, title: str, right: bool | None = None) -> None:
    """Draw an image ``[H, W, 1 or 3]``, with a sign that says whether the prediction is correct."""
    color = "black" if right is None else BLUE if right else VERMILLION
    sign = "" if right is None else " ✓" if right else " ✗"
    panel.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray_r", vmin=0, vmax=1)
    panel.set_title(f"{title}{sign}", fontsize=10, color=color)
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set(color=color, linewidth=2)

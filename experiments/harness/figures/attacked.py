"""Adversarial examples of images, and a learner's predictions for them by radius of the attack."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from metalearn import Learner, MetaLearner
from metalearn.attacks import Robust
from metalearn.sources import Source
from metalearn.types import Meta

from .axes import FRESH
from .episodes import image, pictured

SHOWN = 8
"""Images in a row."""


class Attacked(NamedTuple):
    """Some queries of one task, attacked at several radii, R.

    Attributes:
        images: ``[R, SHOWN, H, W, channels]``.
        answers: the predicted classes, ``[R, SHOWN]``.
        classes: the true classes, ``[SHOWN]``.
        radii: R.
        accuracies: the accuracies over all queries of the task, R.
    """

    images: np.ndarray
    answers: np.ndarray
    classes: np.ndarray
    radii: list[float]
    accuracies: list[float]


def attacked(learner: Learner, meta: Meta, tasks: Source) -> Attacked | None:
    """Attack the queries of a held-out task; return the data of :func:`draw`, or None without attacks.

    Args:
        learner: a learner of a Keras model that is evaluated under attacks.
        meta: trained meta-parameters.
        tasks: the tasks of the evaluation.
    """
    if not isinstance(learner, Robust) or not learner.judges or not isinstance(learner.learner, MetaLearner):
        return None
    support, query, *_ = tf.nest.map_structure(lambda leaf: leaf[0], tasks.sample(FRESH, 1))
    shown = pictured(query.inputs.numpy())
    if shown is None or not query.targets.dtype.is_integer:
        return None
    model = learner.learner.to_keras(meta, support if learner.learner.steps else None)
    worst = [judge(model, *query) for judge in learner.judges]
    answers = np.stack([np.argmax(model(inputs), -1) for inputs in worst])
    classes = query.targets.numpy()
    return Attacked(
        np.stack([inputs.numpy()[:SHOWN].reshape(-1, *shown.shape[1:]) for inputs in worst]),
        answers[:, :SHOWN],
        classes[:SHOWN],
        [judge.radius for judge in learner.judges],
        np.mean(answers == classes, -1).tolist(),
    )


def draw(shown: Attacked) -> Figure:
    """Draw a row of images for each radius, with the predicted classes."""
    rows, columns = shown.answers.shape
    figure = Figure(figsize=(1.1 + 1.2 * columns, 0.7 + 1.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    figure.suptitle("Queries attacked within a radius, and the predicted classes", fontsize=11)
    for row, (radius, accuracy) in enumerate(zip(shown.radii, shown.accuracies, strict=True)):
        for column in range(columns):
            given = int(shown.answers[row, column])
            image(panels[row, column], shown.images[row, column], str(given), given == shown.classes[column])
        panels[row, 0].set_ylabel(f"radius {radius:g}\n{accuracy:.0%} right", fontsize=10)
    return figure

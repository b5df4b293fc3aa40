"""Figures of metrics show the given curves."""

from __future__ import annotations

import numpy as np

import metalearn as ml
from experiments.harness.figures import reported
from metalearn.evaluation import Curve
from tests.experiments.figures.drawn import assert_no_text_is_cut_or_covered, make_history


def test_a_metric_by_iteration_and_by_step() -> None:
    accuracy = np.linspace(0.2, 0.9, 40, dtype=np.float32)
    history = {**make_history(40), "outer/accuracy": accuracy}
    mean, half = np.array([0.2, 0.8, 0.9]), np.array([0.1, 0.05, 0.02])
    curve = Curve(mean=mean, median=mean, ci95=half, per_task=np.empty(0))
    evaluation = ml.Evaluation(np.arange(3), mean, half, 600, "", np.empty(0), mean, np.zeros(3))
    evaluation = evaluation._replace(metrics={"accuracy": curve, "unknown in training": curve})
    assert reported.named(history, evaluation) == ["accuracy"]
    figure = reported.metrics(history, evaluation, 10, milliseconds=3000.0)
    assert_no_text_is_cut_or_covered(figure)
    training, adapting = figure.axes
    np.testing.assert_allclose(training.lines[0].get_ydata(), accuracy.reshape(10, 4).mean(1), rtol=1e-6)
    np.testing.assert_array_equal(adapting.lines[0].get_ydata(), mean)
    assert training.get_ylim() == adapting.get_ylim() == (0, 1.02)
    (above,) = training.child_axes
    np.testing.assert_allclose(above.get_xlim(), np.array(training.get_xlim()) * 0.05)

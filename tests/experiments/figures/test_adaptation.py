"""Figures of predictions before and after adaptation."""

from __future__ import annotations

import dataclasses
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from experiments.harness.figures import adaptation
from experiments.harness.figures import drawing as figures
from tests.experiments.figures.drawn import assert_no_text_is_cut_or_covered, make_history, png


@pytest.fixture(scope="module")
def learner() -> ml.MetaLearner:
    return ml.MetaLearner(ml.models.mlp(hidden=(8,)), loss=ml.losses.mse, rule=ml.rules.sgd(0.01))


def test_adaptation_cases_are_what_the_learner_does(learner: ml.MetaLearner) -> None:
    meta, tasks = learner.initialize(seed=0), ml.tasks.Sinusoid()
    cases = adaptation.adaptation_cases(learner, meta, tasks)
    assert [case.shots for case in cases] == [5, 5, 5, 10, 10, 10]
    for shots, found in ((5, cases[:3]), (10, cases[3:])):
        drawn = dataclasses.replace(tasks, shots=shots, queries=200, grid=True).sample((2, -1), 100)
        ranges = np.ptp(drawn.query.targets, axis=(1, 2))
        chosen = np.argsort(ranges)[[9, 54, 99]]
        drawn = tf.nest.map_structure(functools.partial(tf.gather, indices=chosen), drawn)
        for index, case in enumerate(found):
            np.testing.assert_allclose(case.inputs, np.linspace(-5, 5, 200), rtol=1e-5)
            np.testing.assert_array_equal(case.truth, drawn.query.targets[index, :, 0])
            np.testing.assert_array_equal(case.support_inputs, drawn.support.inputs[index, :, 0])
            np.testing.assert_array_equal(case.support_targets, drawn.support.targets[index, :, 0])
            assert list(case.predictions) == [0, 1, 10]
        for step in (0, 1, 10):
            fitted = learner.adapt(meta, drawn.support, step)
            outputs = learner.predict(fitted.parameters, drawn.query.inputs)[..., 0]
            got = [case.predictions[step] for case in found]
            np.testing.assert_allclose(got, outputs, rtol=1e-4, atol=1e-5)
    assert not np.allclose(cases[0].predictions[0], cases[0].predictions[10])


def test_adaptation_cases_with_shared_parameters() -> None:
    learner = ml.MetaLearner(ml.models.mlp(), loss=ml.losses.mse, rule=ml.rules.sgd(), adapted="output/*")
    cases = adaptation.adaptation_cases(learner, learner.initialize(0), ml.tasks.Sinusoid())
    assert [case.predictions[10].shape for case in cases] == [(200,)] * 6


def test_other_problems_have_no_adaptation_cases(learner: ml.MetaLearner) -> None:
    class Gridless:
        sample = ml.tasks.Sinusoid().sample

    meta = learner.initialize(0)
    assert adaptation.adaptation_cases(learner, meta, Gridless()) == []
    wide = ml.MetaLearner(ml.models.mlp(input_size=2), loss=ml.losses.mse, rule=ml.rules.sgd())
    assert adaptation.adaptation_cases(wide, wide.initialize(0), ml.tasks.Sinusoid()) == []


def make_case(shots: int, function: Any, scale: float = 1.0) -> adaptation.AdaptationCase:
    x = np.linspace(-5, 5, 200)
    truth, at = function(x), x[: 9 * shots : 9]
    return adaptation.AdaptationCase(
        shots, x, truth, at, function(at), {0: 0 * x, 1: truth / 2, 10: scale * truth}
    )


def test_adaptation_draws_a_row_for_each_number_of_shots() -> None:
    cases = [make_case(shots, function) for shots in (5, 10) for function in (np.sin, np.cos, np.tanh)]
    figure = adaptation.adaptation(cases, "10 shots, K = 1")
    assert len(figure.axes) == 6
    assert figure.get_suptitle().endswith("meta-trained with 10 shots, K = 1")
    for case, panel in zip(cases, figure.axes, strict=True):
        drawn = {str(line.get_label()): line for line in panel.lines}
        assert list(drawn) == ["truth", "before adapting", "after 1 step", "after 10 steps", "support"]
        np.testing.assert_array_equal(drawn["after 1 step"].get_ydata(), case.predictions[1])
        np.testing.assert_array_equal(drawn["support"].get_xdata(), case.support_inputs)
        power = np.mean(case.truth**2)
        assert panel.get_title() == f"MSE {power:.2g} → {power / 4:.2g} → 0"
    assert [panel.get_ylabel().split("\n")[0] for panel in figure.axes[::3]] == [
        "5 shots in test",
        "10 shots in test",
    ]
    assert_no_text_is_cut_or_covered(figure)


def test_predictions_far_off_or_not_finite_leave_the_truth_in_view() -> None:
    for scale in (1e9, np.nan, np.inf):
        figure = adaptation.adaptation([make_case(5, np.sin, scale)])
        low, high = figure.axes[0].get_ylim()
        assert -2.1 <= low < -1
        assert 1 < high <= 2.1
        png(figure)


def test_figures_can_be_drawn_in_threads() -> None:
    def draw(rows: int) -> list[bytes]:
        history = make_history(rows)
        cases = [make_case(rows // 10, np.sin)]
        return [png(figures.meta_gradient_norms(history, 5)), png(adaptation.adaptation(cases))]

    rows = (50, 60, 70, 80)
    expected = list(map(draw, rows))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, rows)) == expected

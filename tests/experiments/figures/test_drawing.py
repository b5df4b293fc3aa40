"""Figures: the numbers that they show, and that they can be drawn of any history."""

from __future__ import annotations

import dataclasses
import io
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import metalearn as ml
from experiments.harness.figures import drawing as figures
from metalearn.training import LOSSES

VARIABLES = ("parameters/hidden_0/kernel", "parameters/hidden_0/bias", "rule/learning_rate")
REFERENCES = {"predicting 0": 4.252, "best without adapting": 3.006}


def make_history(rows: int, variables: tuple[str, ...] = VARIABLES) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    names = (*LOSSES, "meta_gradient/norm", *(f"meta_gradient/norm/{name}" for name in variables))
    history = {name: random.lognormal(size=rows).astype(np.float32) for name in names}
    return {**history, "learning_rate": np.full(rows, 1e-3, np.float32)}


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    return file.getvalue()


def lines(figure: Figure, panel: int = 0) -> dict[str, Any]:
    return {str(line.get_label()): line for line in figure.axes[panel].lines}


def assert_no_text_is_cut_or_covered(figure: Figure) -> None:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes = figure.axes[0]
    legends = [legend.get_window_extent() for legend in figure.legends]
    texts = [
        text for text in (*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label) if text.get_text()
    ]
    boxes = legends + [text.get_window_extent(canvas.get_renderer()) for text in texts]
    width, height = figure.canvas.get_width_height()
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


@pytest.fixture(scope="module")
def learner() -> ml.MetaLearner:
    return ml.MetaLearner(ml.models.mlp(hidden=(8,)), loss=ml.losses.mse, rule=ml.rules.sgd(0.01))


def test_adaptation_cases_are_what_the_learner_does(learner: ml.MetaLearner) -> None:
    meta, tasks = learner.initialize(seed=0), ml.tasks.Sinusoid()
    cases = figures.adaptation_cases(learner, meta, tasks, shots=(5, 10), steps=(0, 1, 3), count=2, seed=4)
    assert [case.shots for case in cases] == [5, 5, 10, 10]
    for shots, found in ((5, cases[:2]), (10, cases[2:])):
        drawn = dataclasses.replace(tasks, shots=shots, queries=200, grid=True).sample((4, -1), 2)
        for index, case in enumerate(found):
            np.testing.assert_allclose(case.inputs, np.linspace(-5, 5, 200), rtol=1e-5)
            np.testing.assert_array_equal(case.truth, drawn.query.targets[index, :, 0])
            np.testing.assert_array_equal(case.support_inputs, drawn.support.inputs[index, :, 0])
            np.testing.assert_array_equal(case.support_targets, drawn.support.targets[index, :, 0])
            assert list(case.predictions) == [0, 1, 3]
        for step in (0, 1, 3):
            fitted = learner.adapt(meta, drawn.support, step)
            outputs = learner.predict(fitted.parameters, drawn.query.inputs)[..., 0]
            got = [case.predictions[step] for case in found]
            np.testing.assert_allclose(got, outputs, rtol=1e-4, atol=1e-5)
    assert not np.allclose(cases[0].predictions[0], cases[0].predictions[3])


def test_adaptation_cases_with_shared_parameters() -> None:
    learner = ml.MetaLearner(ml.models.mlp(), loss=ml.losses.mse, rule=ml.rules.sgd(), adapted="output/*")
    (case,) = figures.adaptation_cases(
        learner, learner.initialize(0), ml.tasks.Sinusoid(), shots=(3,), count=1
    )
    assert case.predictions[10].shape == (200,)


def test_other_problems_have_no_adaptation_cases(learner: ml.MetaLearner) -> None:
    class Gridless:
        sample = ml.tasks.Sinusoid().sample

    meta = learner.initialize(0)
    assert figures.adaptation_cases(learner, meta, Gridless()) == []
    wide = ml.MetaLearner(ml.models.mlp(input_size=2), loss=ml.losses.mse, rule=ml.rules.sgd())
    assert figures.adaptation_cases(wide, wide.initialize(0), ml.tasks.Sinusoid()) == []


def make_case(shots: int, function: Any, scale: float = 1.0) -> figures.AdaptationCase:
    x = np.linspace(-5, 5, 200)
    truth, at = function(x), x[: 9 * shots : 9]
    return figures.AdaptationCase(
        shots, x, truth, at, function(at), {0: 0 * x, 1: truth / 2, 10: scale * truth}
    )


def test_adaptation_draws_a_row_for_each_number_of_shots() -> None:
    cases = [make_case(shots, function) for shots in (5, 10) for function in (np.sin, np.cos, np.tanh)]
    figure = figures.adaptation(cases)
    assert len(figure.axes) == 6
    for case, panel in zip(cases, figure.axes, strict=True):
        drawn = {str(line.get_label()): line for line in panel.lines}
        assert list(drawn) == ["truth", "before adapting", "after 1 step", "after 10 steps", "support"]
        np.testing.assert_array_equal(drawn["after 1 step"].get_ydata(), case.predictions[1])
        np.testing.assert_array_equal(drawn["support"].get_xdata(), case.support_inputs)
        power = np.mean(case.truth**2)
        assert panel.get_title() == f"MSE {power:.2g} → {power / 4:.2g} → 0"
    assert [panel.get_ylabel().split("\n")[0] for panel in figure.axes[::3]] == ["5 shots", "10 shots"]
    assert_no_text_is_cut_or_covered(figure)


def test_predictions_far_off_or_not_finite_leave_the_truth_in_view() -> None:
    for scale in (1e9, np.nan, np.inf):
        figure = figures.adaptation([make_case(5, np.sin, scale)])
        low, high = figure.axes[0].get_ylim()
        assert -2.1 <= low < -1
        assert 1 < high <= 2.1
        png(figure)


def test_loss_by_step_shows_means_intervals_and_references() -> None:
    steps, mean, half = np.arange(11), 3 * 0.6 ** np.arange(11), np.full(11, 0.01)
    figure = figures.loss_by_step(
        {"MAML": (steps, mean, half), "ANIL": (steps, mean / 2, half)}, "mse", REFERENCES
    )
    axes = figure.axes[0]
    np.testing.assert_allclose(lines(figure)["MAML"].get_ydata(), mean)
    band = axes.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(band[:, 1].max(), mean[0] + 0.01)
    np.testing.assert_allclose(band[:, 1].min(), mean[-1] - 0.01)
    assert [text.get_text() for text in axes.texts] == ["predicting 0: 4.252", "best without adapting: 3.006"]
    assert (axes.get_yscale(), axes.get_xlabel()) == ("log", "inner gradient steps")
    assert axes.get_ylabel().startswith("MSE")
    looks = {(line.get_marker(), line.get_color()) for line in axes.lines[:2]}
    assert len(looks) == 2
    assert_no_text_is_cut_or_covered(figure)


@pytest.mark.parametrize("references", [{"a": 3.0, "b": 3.01, "c": 3.02}, {"a": 0.1, "b": 0.1001}, {}])
def test_labels_of_close_references_do_not_overlap(references: dict[str, float]) -> None:
    steps = np.arange(3)
    figure = figures.loss_by_step({"x" * 60: (steps, 3.0 - steps, 0.1 * steps)}, "cross_entropy", references)
    assert_no_text_is_cut_or_covered(figure)


def test_a_diverging_evaluation_does_not_flatten_the_others() -> None:
    steps = np.arange(4)
    evaluations = {
        "diverges": (steps, np.array([3.0, 0.3, 1e20, np.inf]), np.array([0.1, 0.1, 1e20, np.nan])),
        "learns": (steps, 3 * 0.1**steps, 0.5 * 0.1**steps),
    }
    figure = figures.loss_by_step(evaluations, "mse", REFERENCES)
    low, high = figure.axes[0].get_ylim()
    assert low < 0.0025
    assert high < 100
    png(figure)


def test_training_curves_are_window_means() -> None:
    history = make_history(2050)
    figure = figures.training_curves(history, 100)
    drawn = lines(figure)
    assert len(figure.axes) == 1
    assert list(drawn) == [
        f"{examples} loss {when} adapting"
        for examples in ("query", "support")
        for when in ("before", "after")
    ]
    line = drawn["query loss after adapting"]
    values = history["outer/loss"].astype(np.float64)
    windows = np.split(values, range(100, 2050, 100))
    np.testing.assert_allclose(line.get_ydata(), [window.mean() for window in windows], rtol=1e-12)
    np.testing.assert_array_equal(line.get_xdata(), [*np.arange(49.5, 2000, 100), 2024.5])
    assert "mean over 100 iterations" in figure.axes[0].get_ylabel()
    assert_no_text_is_cut_or_covered(figure)


def test_a_schedule_has_a_panel_of_its_own() -> None:
    history = make_history(500) | {"learning_rate": np.linspace(1e-3, 0, 500, dtype=np.float32)}
    figure = figures.training_curves(history, 10)
    assert len(figure.axes) == 2
    rates = figure.axes[1].lines[0].get_ydata()
    np.testing.assert_allclose(rates, history["learning_rate"].reshape(50, 10).mean(1), rtol=1e-5)
    assert_no_text_is_cut_or_covered(figure)


def test_long_histories_are_drawn_with_few_points() -> None:
    history = make_history(70_000)
    for figure in (figures.training_curves(history, 1), figures.meta_gradient_norms(history, 1)):
        assert {len(line.get_xdata()) for line in figure.axes[0].lines} == {2000}
        assert "mean over 35 iterations" in figure.axes[0].get_ylabel()


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 150])
@pytest.mark.parametrize("draw", [figures.training_curves, figures.meta_gradient_norms])
def test_short_histories_can_be_drawn(draw: Any, rows: int) -> None:
    figure = draw(make_history(rows), 500)
    shown = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    assert len(shown) == (4 if rows else 0)
    assert all(line.get_marker() == "o" for line in shown) == (0 <= rows < 3)
    png(figure)


@pytest.mark.parametrize("draw", [figures.training_curves, figures.meta_gradient_norms])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_what_is_not_finite_or_positive_is_left_out(draw: Any, bad: float) -> None:
    history = make_history(400)
    for rows, whole in ((slice(250, 300), False), (slice(0, 400), True)):
        holed = {name: values.copy() for name, values in history.items()}
        for values in holed.values():
            values[rows] = bad
        figure = draw(holed, 40)
        for line in figure.axes[0].lines:
            assert np.isfinite(line.get_ydata()).any() != (whole and not np.isfinite(bad))
        png(figure)
    mixed = history["outer/loss"].copy()
    mixed[::2] = np.nan
    means = lines(figures.training_curves(history | {"outer/loss": mixed}, 40))["query loss after adapting"]
    np.testing.assert_allclose(means.get_ydata(), np.nanmean(mixed.reshape(10, 40), axis=1), rtol=1e-6)


def test_norms_are_named_by_variable_and_layers_share_a_colour() -> None:
    history = make_history(200)
    drawn = lines(figures.meta_gradient_norms(history, 20))
    assert set(drawn) == {"all", "hidden_0/kernel", "hidden_0/bias", "rule/learning_rate"}
    kernel, bias, rate = (drawn[name] for name in ("hidden_0/kernel", "hidden_0/bias", "rule/learning_rate"))
    assert kernel.get_color() == bias.get_color() != rate.get_color()
    assert kernel.get_linestyle() != bias.get_linestyle()
    norm = history["meta_gradient/norm/rule/learning_rate"].astype(np.float64)
    np.testing.assert_allclose(rate.get_ydata(), norm.reshape(10, 20).mean(1), rtol=1e-6)


def test_the_largest_of_many_norms_are_shown() -> None:
    variables = tuple(f"parameters/layer_{index}/kernel" for index in range(40))
    history = make_history(100, variables)
    for index, name in enumerate(variables):
        history[f"meta_gradient/norm/{name}"] *= np.float32(10.0 ** (index - 20))
    figure = figures.meta_gradient_norms(history, 10)
    drawn = lines(figure)
    assert list(drawn) == ["all", *(f"layer_{index}/kernel" for index in range(24, 40))]
    assert figure.legends[0].get_title().get_text() == "the largest 16 of 40"
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn.values()}) == 17
    assert_no_text_is_cut_or_covered(figure)


def test_save_writes_a_whole_png(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figure.png"
    figures.save(figures.training_curves(make_history(30), 3), path)
    assert matplotlib.image.imread(path).shape[:2] == (720, 1080)
    before = path.read_bytes()
    broken = figures.training_curves(make_history(30), 3)
    broken.savefig = None  # type: ignore[method-assign,assignment]
    with pytest.raises(TypeError):
        figures.save(broken, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_figures_can_be_drawn_in_threads() -> None:
    def draw(rows: int) -> list[bytes]:
        history = make_history(rows)
        cases = [make_case(rows // 10, np.sin)]
        return [png(figures.meta_gradient_norms(history, 5)), png(figures.adaptation(cases))]

    rows = (50, 60, 70, 80)
    expected = list(map(draw, rows))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, rows)) == expected


def test_tensors_are_taken_too() -> None:
    figure = figures.loss_by_step({"a": (tf.range(3), tf.constant([3.0, 2.0, 1.0]), tf.zeros(3))}, "mse", {})
    np.testing.assert_array_equal(lines(figure)["a"].get_xydata(), [[0, 3], [1, 2], [2, 1]])

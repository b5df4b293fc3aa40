"""Figures of a run, compared with the numbers that they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure

from experiments.harness.figures import drawing as figures
from tests.experiments.figures.drawn import (
    REFERENCES,
    assert_no_text_is_cut_or_covered,
    lines,
    make_history,
    png,
)


def test_loss_by_step_shows_means_intervals_and_references() -> None:
    steps, mean, half = np.arange(11), 3 * 0.6 ** np.arange(11), np.full(11, 0.001)
    figure = figures.loss_by_step("MAML", (steps, mean, half, mean / 3), "mse", REFERENCES)
    axes = figure.axes[0]
    np.testing.assert_allclose(lines(figure)["MAML"].get_ydata(), mean)
    np.testing.assert_allclose(lines(figure)["MAML: median"].get_ydata(), mean / 3)
    band = axes.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(band[:, 1].max(), mean[0] + 0.001)
    np.testing.assert_allclose(band[:, 1].min(), mean[-1] - 0.001)
    assert [text.get_text() for text in axes.texts] == ["predicting 0: 4.252", "best without adapting: 3.006"]
    assert (axes.get_yscale(), axes.get_xlabel()) == ("log", "inner gradient steps")
    assert axes.get_ylabel().startswith("MSE")
    drawn = [lines(figure)[name] for name in ("MAML", "MAML: median")]
    for look in ("get_marker", "get_linestyle"):
        assert len({getattr(line, look)() for line in drawn}) == 2
    assert not [line for line in axes.lines if line.get_marker() in ("v", "^")]
    assert_no_text_is_cut_or_covered(figure)


@pytest.mark.parametrize("references", [{"a": 3.0, "b": 3.01, "c": 3.02}, {"a": 0.1, "b": 0.1001}, {}])
def test_labels_of_close_references_do_not_overlap(references: dict[str, float]) -> None:
    steps = np.arange(3)
    curves = steps, 3.0 - steps, 0.1 * steps, 3.0 - steps
    figure = figures.loss_by_step("x" * 60, curves, "cross_entropy", references)
    assert_no_text_is_cut_or_covered(figure)


def test_a_diverging_evaluation_does_not_flatten_the_steps_before() -> None:
    curves = np.arange(4), np.array([3.0, 0.3, 1e20, np.inf]), np.array([0.1, 0.1, 1e20, np.nan]), np.ones(4)
    figure = figures.loss_by_step("diverges", curves, "mse", REFERENCES)
    low, high = figure.axes[0].get_ylim()
    assert low > 0.1
    assert high < 100
    assert [marked(figure, marker) for marker in "^v"] == [[[2]], [[2]]]
    png(figure)


def test_an_interval_that_reaches_zero_is_marked_where_it_leaves_the_axis() -> None:
    steps = np.arange(4)
    curves = steps, 3 * 0.1**steps, 4 * 0.1**steps, 0.5 * 0.1**steps
    figure = figures.loss_by_step("learns", curves, "mse", REFERENCES)
    assert figure.axes[0].get_ylim()[0] < 0.0025
    assert [marked(figure, marker) for marker in "^v"] == [[], [[0, 1, 2, 3]]]
    png(figure)


def marked(figure: Figure, marker: str) -> list[list[float]]:
    """Return at which steps there are triangles that point up or down, a list each time."""
    return [line.get_xdata().tolist() for line in figure.axes[0].lines if line.get_marker() == marker]


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


def test_norms_are_named_by_variable_and_differ_in_colour_and_dash() -> None:
    history = make_history(200)
    drawn = lines(figures.meta_gradient_norms(history, 20))
    assert set(drawn) == {"all", "hidden_0/kernel", "hidden_0/bias", "rule/learning_rate"}
    kernel, bias, rate = (drawn[name] for name in ("hidden_0/kernel", "hidden_0/bias", "rule/learning_rate"))
    for look in ("get_color", "get_linestyle"):
        assert len({getattr(line, look)() for line in (kernel, bias, rate)}) == 3
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


def test_save_writes_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figure.png"
    figure = figures.training_curves(make_history(30), 3)
    files = figures.save(figure, tmp_path / "other" / "of.it", ["svg", "pdf"])
    assert {kind: content[:5] for kind, content in files.items()} == {"svg": b"<?xml", "pdf": b"%PDF-"}
    assert {each.name: each.read_bytes() for each in (tmp_path / "other").iterdir()} == {
        f"of.it.{kind}": content for kind, content in files.items()
    }
    figures.save(figure, path.with_suffix(""))
    assert matplotlib.image.imread(path).shape[:2] == (720, 1080)
    before = path.read_bytes()
    broken = figures.training_curves(make_history(30), 3)
    broken.savefig = None  # type: ignore[method-assign,assignment]
    with pytest.raises(TypeError):
        figures.save(broken, path.with_suffix(""))
    assert path.read_bytes() == before
    assert sorted(path.parent.iterdir()) == [path.with_suffix(".pdf"), path]


def test_tensors_are_taken_too() -> None:
    curves = tf.range(3), tf.constant([3.0, 2.0, 1.0]), tf.zeros(3), tf.ones(3)
    figure = figures.loss_by_step("a", curves, "mse", {})
    np.testing.assert_array_equal(lines(figure)["a"].get_xydata(), [[0, 3], [1, 2], [2, 1]])

"""Figures of a report: every mark, line, band and cell against the numbers it stands for."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from experiments.harness.report import panels
from experiments.harness.report.curves import learning_curves, loss_by_step
from experiments.harness.report.figure import comparison
from experiments.harness.report.grid import grid
from experiments.harness.report.heatmap import heat_map
from experiments.harness.report.panels import Line
from experiments.harness.report.table import tabulate
from tests.experiments.report.made_runs import make_group


def texts(labels):
    return [label.get_text() for label in labels]


def test_final_losses_are_marks_with_bars_up_to_where_a_row_diverges():
    """The bar of 2 and 2.1 is 12.7062 * 0.05 to each side; a single seed has none."""
    groups = [
        make_group("maml", [[4, 2.0], [4, 2.1]]),
        make_group("one", [[4, 3]]),
        make_group("wild", [[4, 50]]),
    ]
    figure = comparison(tabulate(groups, "maml"), {"predicting 0": 4.25})
    (axes,) = figure.axes
    assert texts(axes.get_yticklabels()) == ["maml", "one", "wild (diverges at 1)"]
    drawn = [line.get_xydata() for line in axes.lines if len(line.get_xdata())]
    above, below = -0.085, 0.085
    marks = [tuple(data[0]) for data in drawn if len(data) == 1]
    expected = [(4, above), (4, 1 + above), (4, 2 + above), (2.05, below), (3, 1 + below)]
    np.testing.assert_allclose(marks, expected)
    bars = [data.tolist() for data in drawn if len(data) == 2]
    assert bars[1] == [pytest.approx([1.41469, below], rel=1e-5), pytest.approx([2.68531, below], rel=1e-5)]
    assert bars[2:] == [[[4.25, 0], [4.25, 1]]]
    assert texts(figure.legends[0].get_texts()) == ["before", "after 1", "predicting 0: 4.25"]


def test_a_bar_that_reaches_zero_goes_to_the_edge():
    figure = comparison(tabulate([make_group("maml", [[4, 1], [4, 3]])], "maml"), {})
    (axes,) = figure.axes
    bar = axes.lines[2].get_xdata()
    np.testing.assert_allclose(bar, axes.get_xlim())
    np.testing.assert_allclose(bar, [2 / 1.6, 4 * 1.6])


def test_nothing_finite_can_be_drawn():
    table = tabulate([make_group("wild", [[np.inf, np.inf]])], "maml")
    for figure in (comparison(table, {}), loss_by_step(table), learning_curves(table)):
        FigureCanvasAgg(figure).draw()


def test_lines_are_means_over_seeds_and_bands_their_range():
    table = tabulate([make_group("maml", [[4, 2, 1], [4, 4, 2]]), make_group("wild", [[4, 2, 50]])], "maml")
    figure = loss_by_step(table)
    (axes,) = figure.axes
    first, second = axes.lines
    np.testing.assert_array_equal(first.get_xydata(), [[0, 4], [1, 3], [2, 1.5]])
    np.testing.assert_array_equal(second.get_xydata(), [[0, 4], [1, 2]])
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    assert {(2.0, 1.0), (2.0, 2.0), (1.0, 2.0), (1.0, 4.0)} <= {tuple(corner) for corner in corners.tolist()}
    assert texts(figure.legends[0].get_texts()) == ["maml", "wild"]


def test_learning_curves_are_means_over_windows():
    """Of 400 iterations, 100 points: the means of fours, then of seeds."""
    training = np.random.default_rng(0).uniform(1, 2, (2, 400))
    table = tabulate([make_group("maml", [[4, 2], [4, 2]], curves=training)], "maml")
    (line,) = learning_curves(table).axes[0].lines
    np.testing.assert_allclose(line.get_ydata(), training.reshape(2, 100, 4).mean(2).mean(0))
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1.5, 400, 4))


def test_many_lines_have_a_panel_each_with_the_others_behind():
    lines = [
        Line(f"line {index}, rate = {index}", np.arange(3), np.full((1, 3), 1.0 + index))
        for index in range(11)
    ]
    figure = panels.draw(lines, "title", "x", "y")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == 11
    for index, axes in enumerate(shown):
        assert axes.get_title().replace("\u00a0", " ") == f"line {index}, rate = {index}"
        (own,) = [line for line in axes.lines if line.get_color() == panels.BLUE]
        assert own.get_ydata().tolist() == [1 + index] * 3
        assert own.get_zorder() >= max(line.get_zorder() for line in axes.lines)
        assert len(axes.lines) == 11
    titles = [axes.title.get_window_extent(FigureCanvasAgg(figure).get_renderer()) for axes in shown]
    assert not [pair for pair in pairwise(titles) if pair[0].overlaps(pair[1])]


def test_names_are_drawn_as_they_are():
    """A formula that cannot be read would stop the report, and a legend leaves out what begins with _."""
    names = [r"$\bad$", "_under", "x" * 100]
    lines = [Line(name, np.arange(3), np.ones((2, 3))) for name in names]
    figure = panels.draw(lines, "cost in $", "x", "y")
    FigureCanvasAgg(figure).draw()
    assert texts(figure.legends[0].get_texts()) == [r"\$\bad\$", " _under", "x" * 59 + "…"]


def test_a_heat_map_has_a_cell_for_each_pair_and_names_what_is_not_there():
    losses = {(1, 0.1): [[4, 2.0], [4, 4.0]], (1, 0.2): [[4, 1.0]], (5, 0.1): [[4, 99], [4, 99]]}
    groups = [
        make_group("maml", seeds, learner={"steps": steps}, rule={"learning_rate": rate})
        for (steps, rate), seeds in losses.items()
    ]
    table = tabulate(groups, "maml")
    axes = heat_map(table, grid(table)).axes[0]
    shown = axes.images[0].get_array()
    np.testing.assert_array_equal(shown.mask, [[False, True], [False, True]])
    np.testing.assert_array_equal(shown.compressed(), [3, 1])
    assert texts(axes.texts) == ["3", "diverged\nat 1", "1\nn = 1", "no run"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("K", "learning_rate")
    assert (texts(axes.get_xticklabels()), texts(axes.get_yticklabels())) == (["1", "5"], ["0.1", "0.2"])

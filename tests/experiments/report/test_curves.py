"""Losses during training and adaptation, compared with the numbers that they show."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from experiments.harness.report.comparison import comparison
from experiments.harness.report.curves import learning_curves, loss_by_step
from experiments.harness.report.table import tables
from experiments.harness.sweeps.collection import collect
from tests.experiments.report import made_runs
from tests.experiments.report.made_runs import make_group, make_run, table_of


def test_nothing_finite_can_be_drawn(tmp_path, monkeypatch):
    made_runs.spare(monkeypatch)
    make_run(tmp_path, "wild", 0, [[np.inf, np.inf]] * 2)
    (table,) = tables(collect(tmp_path), "maml")
    final, by_step, learning = comparison(table, {}), loss_by_step(table), learning_curves(table)
    for figure in (final, by_step, learning):
        FigureCanvasAgg(figure).draw()
    assert not any(line.get_ydata().size for figure in (final, by_step) for line in figure.axes[0].lines)
    assert [label.get_text() for label in final.axes[0].get_yticklabels()] == ["wild (diverges at 0)"]
    assert [text.get_text() for text in by_step.axes[0].texts] == ["no finite values"]
    assert learning.axes[0].lines[0].get_ydata().size


def test_lines_are_means_over_seeds_and_bands_their_range():
    table = table_of(make_group("maml", [[4, 2, 1], [4, 4, 2]]), make_group("wild", [[4, 2, 50]]))
    figure = loss_by_step(table)
    (axes,) = figure.axes
    first, second = axes.lines
    np.testing.assert_array_equal(first.get_xydata(), [[0, 4], [1, 3], [2, 1.5]])
    np.testing.assert_array_equal(second.get_xydata(), [[0, 4], [1, 2]])
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    assert {(2.0, 1.0), (2.0, 2.0), (1.0, 2.0), (1.0, 4.0)} <= {tuple(corner) for corner in corners.tolist()}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["maml", "wild"]


def test_learning_curves_are_medians_of_windows(tmp_path, monkeypatch):
    """A curve of 400 iterations has 100 points: means over seeds of medians of four iterations.

    A single iteration with a large loss is not visible.
    """
    made_runs.spare(monkeypatch)
    training = np.random.default_rng(0).uniform(1, 2, (2, 400))
    training[1, 7] = 1e6
    for seed in (0, 1):
        make_run(tmp_path, "maml", seed, [[4, 2]] * 2, curve=training[seed])
    (table,) = tables(collect(tmp_path), "maml")
    (line,) = learning_curves(table).axes[0].lines
    np.testing.assert_allclose(line.get_ydata(), np.median(training.reshape(2, 100, 4), axis=2).mean(0))
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1.5, 400, 4))
    assert line.get_ydata().max() < 2

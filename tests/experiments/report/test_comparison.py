"""Final losses as marks and bars, compared with the numbers that they show."""

import numpy as np
import pytest

from experiments.harness.report.comparison import comparison
from tests.experiments.report.made_runs import make_group, table_of


def texts(labels):
    return [label.get_text() for label in labels]


def test_final_losses_are_marks_with_bars_up_to_where_a_row_diverges():
    """Marks and bars equal the table's, and a row has none after it diverges.

    The bar of 2 and 2.1 has a length of 12.7062 * 0.05 to each side; a single seed has none.
    """
    groups = [
        make_group("maml", [[4, 2.0], [4, 2.1]]),
        make_group("one", [[4, 3]]),
        make_group("wild", [[4, 50]]),
    ]
    figure = comparison(table_of(*groups, baseline="maml"), {"predicting 0": 4.25})
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


def test_where_a_bar_leaves_the_axis_there_is_an_arrow():
    """A bar from below 0 to above the largest mean ends at the edges of the axis, with arrows."""
    figure = comparison(table_of(make_group("maml", [[4, 1], [4, 3]])), {})
    (axes,) = figure.axes
    bar = axes.lines[2].get_xdata()
    np.testing.assert_allclose(bar, axes.get_xlim())
    np.testing.assert_allclose(bar, [2 / 1.6, 4 * 1.6])
    arrows = {line.get_marker(): float(line.get_xdata()[0]) for line in axes.lines[3:5]}
    assert arrows == {"<": pytest.approx(2 / 1.6), ">": pytest.approx(4 * 1.6)}


def test_of_many_the_best_and_the_baseline_are_shown_and_the_others_counted():
    groups = [make_group(f"label{index}", [[4, 1 + index / 10]]) for index in range(40)]
    figure = comparison(table_of(*groups, baseline="label39"), {})
    names = texts(figure.axes[0].get_yticklabels())
    assert names == [f"label{index}" for index in (*range(24), 39)]
    assert "best of 40 configurations; 15 are left out" in figure.axes[0].get_title()

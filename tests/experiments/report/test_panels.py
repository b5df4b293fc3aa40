"""Few lines share a panel, many have one each, and names are drawn literally."""

from itertools import pairwise

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from experiments.harness.figures.axes import BLUE
from experiments.harness.report import panels
from experiments.harness.report.panels import Line


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
        (own,) = [line for line in axes.lines if line.get_color() == BLUE]
        assert own.get_ydata().tolist() == [1 + index] * 3
        assert own.get_zorder() >= max(line.get_zorder() for line in axes.lines)
        assert len(axes.lines) == 11
    titles = [axes.title.get_window_extent(FigureCanvasAgg(figure).get_renderer()) for axes in shown]
    assert not [pair for pair in pairwise(titles) if pair[0].overlaps(pair[1])]


def test_names_are_drawn_as_they_are():
    """Names with invalid formulas, leading underscores or many characters are drawn literally."""
    names = [r"$\bad$", "_under", "x" * 100]
    lines = [Line(name, np.arange(3), np.ones((2, 3))) for name in names]
    figure = panels.draw(lines, "cost in $", "x", "y")
    FigureCanvasAgg(figure).draw()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        r"\$\bad\$",
        " _under",
        "x" * 59 + "…",
    ]

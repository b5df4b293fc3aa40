"""The colours and texts of a grid, compared with the numbers that they show."""

import numpy as np

from experiments.harness.report.grid import grid
from experiments.harness.report.heatmap import heat_map
from tests.experiments.report.made_runs import make_group, table_of


def texts(labels):
    return [label.get_text() for label in labels]


def test_a_heat_map_has_a_cell_for_each_pair_and_names_what_is_not_there():
    losses = {(1, 0.1): [[4, 2.0], [4, 4.0]], (1, 0.2): [[4, 1.0]], (5, 0.1): [[4, 99], [4, 99]]}
    groups = [
        make_group("maml", seeds, learner={"steps": steps}, rule={"learning_rate": rate})
        for (steps, rate), seeds in losses.items()
    ]
    table = table_of(*groups)
    axes = heat_map(table, grid(table)).axes[0]
    shown = axes.images[0].get_array()
    np.testing.assert_array_equal(shown.mask, [[False, True], [False, True]])
    np.testing.assert_array_equal(shown.compressed(), [3, 1])
    assert texts(axes.texts) == ["3", "diverged\nat 1", "1\nn = 1", "no run"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("K", "learning_rate")
    assert (texts(axes.get_xticklabels()), texts(axes.get_yticklabels())) == (["1", "5"], ["0.1", "0.2"])
